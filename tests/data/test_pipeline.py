"""Input pipelines: what is drawn, in which order, and that an epoch can be entered anywhere."""

import numpy as np
import pytest

from cpmn_tf.config import Config, with_overrides
from cpmn_tf.data import pipeline
from cpmn_tf.errors import UserError


@pytest.fixture
def split(data_set):
    return pipeline.Split.open(data_set, "training")


@pytest.fixture
def config(small_settings) -> Config:
    return with_overrides(Config(), small_settings)


def arrays(dataset) -> list[dict]:
    return list(dataset.as_numpy_iterator())


def same(ours: list[dict], theirs: list[dict]) -> bool:
    return len(ours) == len(theirs) and all(
        all(np.array_equal(one[key], two[key]) for key in one)
        for one, two in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("make", [pipeline.cascade_batches, pipeline.pyramid_batches])
def test_an_epoch_entered_at_any_batch_gives_the_same_bits(split, config, make):
    whole = arrays(make(split, "rgb", config, seed=3, first_epoch=0, last_epoch=3))
    steps = len(whole) // 3
    for epoch, skip in ((0, 1), (1, 0), (2, steps - 1)):
        rest = arrays(
            make(split, "rgb", config, seed=3, first_epoch=epoch, last_epoch=3, skip=skip)
        )
        assert same(rest, whole[epoch * steps + skip :])


@pytest.mark.parametrize("make", [pipeline.cascade_batches, pipeline.pyramid_batches])
def test_epochs_and_seeds_differ(split, config, make):
    first, second = (
        arrays(make(split, "rgb", config, seed=0, first_epoch=e, last_epoch=e + 1)) for e in (0, 1)
    )
    other = arrays(make(split, "rgb", config, seed=1))
    assert not same(first, second)
    assert not same(first, other)


def test_global_seeds_change_nothing(split, config):
    import tensorflow as tf

    tf.random.set_seed(1)
    ours = arrays(pipeline.cascade_batches(split, "rgb", config, seed=0))
    tf.random.set_seed(2)
    assert same(ours, arrays(pipeline.cascade_batches(split, "rgb", config, seed=0)))


def test_cascade_epoch_holds_each_video_once_and_keeps_the_short_batch(split, config):
    batches = arrays(pipeline.cascade_batches(split, "rgb", config, seed=0))
    # 10 videos in batches of 4: 4 + 4 + 2.
    assert [len(batch["labels"]) for batch in batches] == [4, 4, 2]
    labels = np.concatenate([batch["labels"] for batch in batches])
    # make_videos gives classes 0, 1, 2, 0, ...: 4, 3 and 3 of 10 videos.
    np.testing.assert_array_equal(labels.sum(axis=0), [4, 3, 3])


def test_sparse_samples_are_units_of_the_video_in_order(tmp_path, dataset_writer, config):
    write, make = dataset_writer
    (video,) = make(1, lengths=(150, 151))
    video["rgb"][:, 0] = np.arange(150) / 256.0  # exact in float16
    write(tmp_path / "d", {"training": [video]})
    split = pipeline.Split.open(tmp_path / "d", "training")
    (batch,) = arrays(pipeline.cascade_batches(split, "rgb", config, seed=0))
    units = batch["features"][0, :, 0].astype(np.float32) * 256
    segment = np.arange(64)
    assert batch["valid"].all()
    assert (units >= segment * 150 // 64).all()
    assert (units < (segment + 1) * 150 // 64).all()


def test_a_short_video_is_taken_whole_and_padded(tmp_path, dataset_writer, config):
    write, make = dataset_writer
    (video,) = make(1, lengths=(40, 41))
    write(tmp_path / "d", {"training": [video]})
    split = pipeline.Split.open(tmp_path / "d", "training")
    (batch,) = arrays(pipeline.cascade_batches(split, "rgb", config, seed=0))
    assert batch["valid"].sum() == 40
    np.testing.assert_array_equal(batch["features"][0, :40], video["rgb"].astype(np.float16))
    assert not batch["features"][0, 40:].any()


@pytest.mark.parametrize(
    "settings, samples",
    [
        (["cascade.sampling=uniform"], 64),
        (["cascade.sampling=uniform", "cascade.interval=3"], 53),  # ceil(159 / 3) at the longest
        (["cascade.sampling=shot"], 64),
        (["data.resize_units=32", "cascade.units=32"], 32),
    ],
)
def test_other_samplings(tmp_path, dataset_writer, config, settings, samples):
    write, make = dataset_writer
    write(tmp_path / "d", {"training": make(4, lengths=(159, 160))})
    split = pipeline.Split.open(tmp_path / "d", "training")
    config = with_overrides(config, settings)
    one, two = (arrays(pipeline.cascade_batches(split, "flow", config, seed=0)) for _ in range(2))
    assert one[0]["features"].shape == (4, samples, 8)
    assert one[0]["valid"].all()
    assert same(one, two)


def test_pyramid_windows_are_counted_right_and_cover_every_unit(tmp_path, dataset_writer, config):
    write, make = dataset_writer
    videos = make(5, lengths=(5, 120))
    for number, video in enumerate(videos):
        video["rgb"][:, 0] = number
        video["rgb"][:, 1] = np.arange(len(video["rgb"])) / 256.0
    write(tmp_path / "d", {"training": videos})
    split = pipeline.Split.open(tmp_path / "d", "training")
    batches = arrays(pipeline.pyramid_batches(split, "rgb", config, seed=0))
    windows = np.concatenate([batch["features"] for batch in batches]).astype(np.float32)
    valid = np.concatenate([batch["valid"] for batch in batches])
    assert len(windows) == pipeline.training_windows(split.lengths.values(), config)
    for number, video in enumerate(videos):
        mine = (windows[:, 0, 0] == number)[:, np.newaxis] & valid
        units = np.unique(windows[mine][:, 1] * 256)
        np.testing.assert_array_equal(units, np.arange(len(video["rgb"])))


def test_hold_out_is_disjoint_complete_and_stable(split, config):
    training, held = split.hold_out(0.3)
    assert set(training.lengths) | set(held.lengths) == set(split.lengths)
    assert not set(training.lengths) & set(held.lengths)
    assert len(held.lengths) == 3
    assert split.hold_out(0.3)[1].lengths == held.lengths
    batches = arrays(pipeline.whole_videos(held))
    assert {batch["id"][0].decode() for batch in batches} == set(held.lengths)
    rows = sum(
        len(b["labels"]) for b in arrays(pipeline.cascade_batches(training, "rgb", config, seed=0))
    )
    assert rows == 7


def test_hold_out_that_leaves_nothing_is_refused(split):
    with pytest.raises(UserError, match="leaves one part empty"):
        split.hold_out(0.01)


def test_whole_videos_without_segments_have_none(split):
    assert "segments" not in pipeline.whole_videos(split).element_spec
    spec = pipeline.whole_videos(split, segments=True).element_spec
    assert spec["segments"].shape.as_list() == [None, None, 2]


def test_a_broken_shard_is_named(tmp_path, dataset_writer, config):
    write, make = dataset_writer
    folder = write(tmp_path / "d", {"training": make(3)})
    split = pipeline.Split.open(folder, "training")
    shard = folder / "training-00000-of-00001.tfrecord"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)
    batches = pipeline.cascade_batches(split, "rgb", config, seed=0)
    with pytest.raises(UserError, match=r"training-00000-of-00001\.tfrecord: record 1 is broken"):
        list(pipeline.readable(batches, split.manifest, "training"))


def test_an_empty_split_is_refused(tmp_path, dataset_writer):
    write, _ = dataset_writer
    folder = write(tmp_path / "d", {"training": []})
    with pytest.raises(UserError, match="holds no video"):
        pipeline.Split.open(folder, "training")

"""Input pipelines: what is drawn, in which order, and that an epoch can be entered anywhere."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.config import Config, with_overrides
from cpmn_tf.data import pipeline, records
from cpmn_tf.data.manifest import Manifest
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


def test_labels_and_contents(tmp_path, dataset_writer):
    write, make = dataset_writer
    videos = make(3, lengths=(5, 6))  # of the classes 0, 1 and 2
    whole = pipeline.Split.open(write(tmp_path / "a", {"training": videos}), "training")
    assert list(whole.index.labels_of([2, 0])) == [[2], [0]]
    other = pipeline.Split.open(
        write(tmp_path / "b", {"training": [{**videos[0], "label": 2}, *videos[:0:-1]]}), "training"
    )
    ours, theirs = whole.contents(), other.contents()
    assert ours["videos"] == theirs["videos"] == 3
    assert ours["ids"] == theirs["ids"] and ours["labels"] != theirs["labels"]
    fewer = pipeline.Split.open(write(tmp_path / "c", {"training": videos[1:]}), "training")
    assert fewer.contents()["videos"] == 2 and fewer.contents()["ids"] != ours["ids"]
    assert whole.hold_out(0.4)[0].contents() == ours


def test_the_digests_of_models_made_before_stay(tmp_path, dataset_writer):
    write, make = dataset_writer
    videos = make(3, lengths=(5, 6))
    videos[1]["id"] = 'naïve "clip"'  # JSON escapes both
    whole = pipeline.Split.open(
        write(tmp_path / "a", {"training": videos}, num_shards=2), "training"
    )
    assert whole.contents() == {
        "videos": 3,
        "ids": "8e07891e19c180901aea8f76618015f9d722a6af88216f4de70ee5e655069f80",
        "labels": "c2b7413e476c845d06167aa58b2f649ba2a1274c172e2714c169874ceecc9fe7",
    }


@pytest.mark.parametrize(
    "make, group",
    [(pipeline.cascade_batches, 0), (pipeline.cascade_batches, 2), (pipeline.pyramid_batches, 0)],
)
def test_an_epoch_entered_at_any_batch_gives_the_same_bits(split, config, make, group):
    config = with_overrides(config, [f"training.group_size={group}"])
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


@pytest.mark.parametrize(
    "make, setting",
    [
        (pipeline.cascade_batches, "cascade.sampling=sparse"),
        (pipeline.cascade_batches, "training.group_size=2"),
        (pipeline.cascade_batches, "cascade.sampling=shot"),
        (pipeline.pyramid_batches, "pyramid.train_stride=13"),
    ],
)
def test_the_parts_of_a_batch_are_its_rows(split, config, make, setting):
    """Two workers of two replicas each; the first epoch is entered at its second batch."""
    config = with_overrides(config, [setting, "training.batch_size=8"])
    whole = arrays(make(split, "rgb", config, seed=3, last_epoch=2, skip=1))
    parts = [pipeline.Part(0, 4, 2, 8), pipeline.Part(4, 8, 2, 8)]
    fed = [arrays(make(split, "rgb", config, seed=3, last_epoch=2, skip=1, part=p)) for p in parts]
    assert len(fed[0]) == len(fed[1]) == 2 * len(whole)
    for number, batch in enumerate(whole):
        replicas = [part[2 * number + place] for part in fed for place in (0, 1)]
        joined = {key: np.concatenate([one[key] for one in replicas]) for key in replicas[0]}
        rows = len(batch["labels"])
        assert joined.pop("rows").tolist() == [rows] * rows + [0] * (8 - rows)
        for key, value in joined.items():
            np.testing.assert_array_equal(value[:rows], batch[key])
        assert not joined["labels"][rows:].any() and not joined["features"][rows:].any()
    assert {len(batch["labels"]) for batch in whole} > {8}  # and short ones


def test_parts_have_one_shape_whatever_the_videos_lengths(split, config):
    """Workers that traced another graph each would wait for each other for ever."""
    config = with_overrides(config, ["cascade.sampling=uniform", "cascade.interval=3"])
    part = pipeline.Part(2, 4, 1, 4)
    dataset = pipeline.cascade_batches(split, "rgb", config, seed=0, part=part)
    longest = -(-split.lengths.max() // 3)
    assert dataset.element_spec["features"].shape.as_list() == [1, longest, 12]
    whole = arrays(pipeline.cascade_batches(split, "rgb", config, seed=0))[0]
    (third, fourth) = arrays(dataset)[:2]
    for place, row in ((2, third), (3, fourth)):
        valid = whole["valid"][place]
        assert row["valid"].sum() == valid.sum()
        np.testing.assert_array_equal(
            row["features"][0, : valid.sum()], whole["features"][place, valid]
        )


def test_a_worker_decodes_its_own_records_only(split, config, monkeypatch):
    decoded, parse = [], records.parse_training

    def counted(serialized, *arguments):
        tf.py_function(lambda: decoded.append(1), [], [])
        return parse(serialized, *arguments)

    monkeypatch.setattr(records, "parse_training", counted)
    arrays(pipeline.cascade_batches(split, "rgb", config, seed=0, part=pipeline.Part(0, 1, 1, 4)))
    assert len(decoded) == 3  # the first of 4, 4 and 2


# What is random, one source at a time: with one video, or videos that are alike, or nothing drawn,
# no other source can hide that one is lost.


@pytest.fixture
def numbered(tmp_path, dataset_writer):
    """Makes a split of videos that tell in ``rgb`` which they are (0) and which unit it is (1)."""
    write, make = dataset_writer

    def make_split(*lengths: int, num_shards: int = 1) -> pipeline.Split:
        videos = []
        for number, units in enumerate(lengths):
            (video,) = make(1, lengths=(units, units + 1))
            video["rgb"][:, 0] = number
            video["rgb"][:, 1] = np.arange(units)
            video["rgb"][:, 2:] = 0
            video["rgb"][:, 2] = 100 * (np.arange(units) // 10 % 2)  # a cut every ten units
            videos.append({**video, "id": f"video_{number:03d}", "label": 0})
        write(tmp_path / "numbered", {"training": videos}, num_shards=num_shards)
        return pipeline.Split.open(tmp_path / "numbered", "training")

    return make_split


def epoch_of(make, split, config, epoch=0, seed=0) -> dict[str, np.ndarray]:
    """A whole epoch of ``rgb``: videos and their units [rows, units], and the rest of a batch."""
    batches = arrays(make(split, "rgb", config, seed=seed, first_epoch=epoch, last_epoch=epoch + 1))
    joined = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    videos, units = (joined["features"][:, :, part].astype(int) for part in (0, 1))
    return {**joined, "videos": videos[:, 0], "units": units}


@pytest.mark.parametrize("sampling", ["sparse", "shot"])
def test_a_videos_samples_depend_on_epoch_seed_and_video(numbered, config, sampling):
    config = with_overrides(config, [f"cascade.sampling={sampling}", "cascade.units=20"])
    split = numbered(200, 200)  # alike but for their number
    first, second, seeded = (
        epoch_of(pipeline.cascade_batches, split, config, **which)
        for which in ({}, {"epoch": 1}, {"seed": 1})
    )
    units = {
        (name, int(video)): row.tolist()
        for name, batch in (("first", first), ("epoch", second), ("seed", seeded))
        for video, row in zip(batch["videos"], batch["units"], strict=True)
    }
    assert len(units) == 6
    assert len(set(map(tuple, units.values()))) == 6
    assert all(row == sorted(row) for row in units.values())


def test_a_videos_windows_are_shuffled_by_epoch_seed_and_video(numbered, config):
    split = numbered(400)
    starts = [
        epoch_of(pipeline.pyramid_batches, split, config, **which)["units"][:, 0].tolist()
        for which in ({}, {"epoch": 1}, {"seed": 1})
    ]
    # Windows of 32 units every 16, the last aligned to the end: 0, 16, ..., 368.
    assert all(sorted(order) == list(range(0, 369, 16)) for order in starts)
    assert len(set(map(tuple, [*starts, list(range(0, 369, 16))]))) == 4


def test_videos_of_equal_length_have_their_windows_in_different_orders(numbered, config):
    batch = epoch_of(pipeline.pyramid_batches, numbered(400, 400), config)
    one, two = (batch["units"][batch["videos"] == video][:, 0].tolist() for video in (0, 1))
    assert sorted(one) == sorted(two) and one != two


@pytest.mark.parametrize(
    "make, lengths",
    [
        (pipeline.cascade_batches, [100] * 12),
        (pipeline.pyramid_batches, [32] * 12),  # one window each
    ],
)
def test_the_order_of_videos_depends_on_epoch_and_seed(numbered, config, make, lengths):
    config = with_overrides(config, ["cascade.sampling=uniform"])  # draws nothing
    split = numbered(*lengths)
    orders = [
        epoch_of(make, split, config, **which)["videos"].tolist()
        for which in ({}, {"epoch": 1}, {"seed": 1})
    ]
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert len(set(map(tuple, [*orders, list(range(12))]))) == 4


@pytest.mark.parametrize("make", [pipeline.cascade_batches, pipeline.pyramid_batches])
def test_joined_streams_are_side_by_side(split, config, make):
    config = with_overrides(config, ["cascade.sampling=uniform"])  # draws nothing
    rgb, flow, both = (
        next(iter(make(split, stream, config, seed=0)))["features"]
        for stream in ("rgb", "flow", "rgb+flow")
    )
    assert make(split, "rgb+flow", config, seed=0).element_spec["features"].shape[2] == 20
    np.testing.assert_array_equal(both, np.concatenate([rgb, flow], axis=2))


def test_groups_share_a_class_and_every_video_is_there_once(split, config):
    config = with_overrides(config, ["training.group_size=2", "training.batch_size=4"])
    batches = arrays(pipeline.cascade_batches(split, "rgb", config, seed=0, last_epoch=2))
    assert [len(batch["labels"]) for batch in batches] == [4, 4, 2] * 2
    epochs = [
        np.concatenate([b["labels"] for b in batches[part]]) for part in (slice(3), slice(3, 6))
    ]
    # 4, 3 and 3 videos of the three classes: two of them are left over, and pair up last.
    for labels in epochs:
        assert labels.sum(axis=0).tolist() == [4, 3, 3]
        shared = (labels[::2] * labels[1::2]).any(axis=1)
        assert shared.sum() == 4
    assert not np.array_equal(*epochs)


def test_grouped_records_are_those_of_the_split(numbered):
    """Each read where it stands, in any shard; part of a split too."""
    split = numbered(*range(40, 51), num_shards=3)
    for part in (split, split.only(split.ids[2:9])):
        grouped = part.grouped(0, tf.constant(1, tf.int64), 2).map(part.reader())
        assert sorted(grouped.as_numpy_iterator()) == sorted(part.serialized().as_numpy_iterator())


def ids(numbers, split) -> list[str]:
    read = split.reader()
    parsed = numbers.map(
        lambda number: records.parse_training(read(number), split.manifest, ["rgb"])["id"]
    )
    return [item.decode() for item in parsed.as_numpy_iterator()]


def test_records_are_shuffled_within_a_shard(numbered):
    split = numbered(*[40] * 12)
    orders = [ids(split.shuffled(tf.constant(seed, tf.int64), 12), split) for seed in (0, 1)]
    assert all(sorted(order) == split.ids for order in orders)
    assert len(set(map(tuple, [*orders, split.ids]))) == 3


def test_each_block_has_an_order_of_its_own(numbered):
    split = numbered(*[40] * 16)
    order = ids(split.shuffled(tf.constant(0, tf.int64), 8), split)
    first, second = ([int(name[-3:]) for name in part] for part in (order[:8], order[8:]))
    assert sorted(first) == list(range(8))
    assert [number - 8 for number in second] != first


def test_shards_are_shuffled(numbered):
    """A buffer of one record leaves the order within a shard as it is."""
    split = numbered(*[40] * 16, num_shards=8)  # videos n and n + 8 are in shard n
    orders = []
    for seed in (0, 1):
        order = ids(split.shuffled(tf.constant(seed, tf.int64), 1), split)
        pairs = [
            (int(one[-3:]), int(two[-3:])) for one, two in zip(order[::2], order[1::2], strict=True)
        ]
        assert sorted(pairs) == [(number, number + 8) for number in range(8)]
        orders.append([one for one, _ in pairs])
    assert len(set(map(tuple, [*orders, list(range(8))]))) == 3


def order_by_hand(shards: list[list[str]], chosen: set[str], seed: int, buffer: int) -> list[str]:
    """The order that published figures were made with: of shards, then within each block."""

    def drawn(names: list, key: int) -> list:
        seeds = tf.constant([seed, key], tf.int64)
        order = tf.random.experimental.stateless_shuffle(tf.range(len(names)), seeds)
        return [names[number] for number in order.numpy()]

    names = [name for shard in drawn(shards, 0) for name in shard if name in chosen]
    blocks = [names[start : start + buffer] for start in range(0, len(names), buffer)]
    return [name for number, block in enumerate(blocks) for name in drawn(block, number + 1)]


@pytest.mark.parametrize("fraction", [0, 0.3])
def test_the_order_of_a_data_set_and_seed_stays(numbered, fraction):
    split = numbered(*[5] * 23, num_shards=3)
    shards = [[f"video_{number:03d}" for number in range(first, 23, 3)] for first in range(3)]
    for part in split.hold_out(fraction):
        if part is None:
            continue
        chosen = set(part.ids)
        for seed, epoch, buffer in ((0, 0, 4), (0, 1, 4), (7, 2, 10), (7, 2, 4096)):
            order = seed * 2**20 + epoch
            dataset = part.shuffled(tf.constant(order, tf.int64), buffer)
            assert ids(dataset, split) == order_by_hand(shards, chosen, order, buffer)


def test_global_seeds_change_nothing(split, config):
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
    assert len(windows) == pipeline.training_windows(split.lengths, config)
    for number, video in enumerate(videos):
        mine = (windows[:, 0, 0] == number)[:, np.newaxis] & valid
        units = np.unique(windows[mine][:, 1] * 256)
        np.testing.assert_array_equal(units, np.arange(len(video["rgb"])))


def test_padding_of_a_short_videos_window_is_not_valid(numbered, config):
    batch = epoch_of(pipeline.pyramid_batches, numbered(20), config)
    # A window of 32 units over a video of 20.
    np.testing.assert_array_equal(batch["valid"], [[True] * 20 + [False] * 12])
    np.testing.assert_array_equal(batch["units"], [[*range(20)] + [0] * 12])


@pytest.mark.parametrize("modules, cascade_is_resized", [("both", True), ("pyramid", False)])
def test_the_modules_whose_videos_are_resized(numbered, config, modules, cascade_is_resized):
    settings = ["data.resize_units=50", f"data.resize_modules={modules}"]
    config = with_overrides(config, [*settings, "cascade.sampling=uniform", "cascade.units=100"])
    split = numbered(100)
    cascade = epoch_of(pipeline.cascade_batches, split, config)
    assert cascade["valid"].sum() == (50 if cascade_is_resized else 100)
    if not cascade_is_resized:
        np.testing.assert_array_equal(cascade["units"], [np.arange(100)])
    pyramid = epoch_of(pipeline.pyramid_batches, split, config)
    # Windows of 32 of 50 units, every 16: 0, 16, 18; new unit i is the mean of units 2i and 2i+1.
    assert sorted(pyramid["features"][:, 0, 1].tolist()) == [0.5, 32.5, 36.5]


def test_hold_out_is_disjoint_complete_and_stable(split, config):
    training, held = split.hold_out(0.3)
    assert set(training.ids) | set(held.ids) == set(split.ids)
    assert not set(training.ids) & set(held.ids)
    assert len(held) == 3
    # By a hash, so that neither the order of the shards nor that of the names decides.
    ranked = sorted(split.ids, key=lambda name: hashlib.sha256(name.encode()).digest())
    assert set(held.ids) == set(ranked[:3]) != set(sorted(split.ids)[:3])
    assert split.hold_out(0.3)[1].ids == held.ids
    batches = arrays(pipeline.whole_videos(held))
    assert {batch["id"][0].decode() for batch in batches} == set(held.ids)
    rows = sum(
        len(b["labels"]) for b in arrays(pipeline.cascade_batches(training, "rgb", config, seed=0))
    )
    assert rows == 7


def test_hold_out_that_leaves_nothing_is_refused(split):
    with pytest.raises(UserError, match="leaves one part empty"):
        split.hold_out(0.01)


@pytest.mark.parametrize(
    "lengths, most, sizes",
    [
        ([1000, 900, 500, 480, 470, 100], 2, [2, 2, 1, 1]),
        ([100, 80, 80], 3, [2, 1]),  # 180 of 200 are 90 %, 260 of 300 are less
        ([100, 79], 2, [1, 1]),
        ([7] * 5, 3, [3, 2]),
        ([], 4, []),
    ],
)
def test_batches_are_closed_before_they_are_padding(lengths, most, sizes):
    assert pipeline.batch_sizes(lengths, most) == sizes


def test_some_of_the_videos_are_read_alone_in_the_shards_order(split):
    """And in any other: each where it stands."""
    some = split.only({split.ids[7], split.ids[2], split.ids[3]})
    assert some.ids == [split.ids[place] for place in (2, 3, 7)]
    whole = list(split.serialized().as_numpy_iterator())
    assert list(some.serialized().as_numpy_iterator()) == [whole[2], whole[3], whole[7]]
    assert list(some.serialized(np.array([2, 0])).as_numpy_iterator()) == [whole[7], whole[2]]


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
        list(records.readable(batches, split.manifest, "training"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"example/id": b"\xff"},
            r"'training' cannot be read \(the id, units or classes of '\ufffd'",
        ),
        (
            {"feature/rgb/dimensions": (-5, 12)},
            "record 1 is broken .*rgb is not 12 values for each",
        ),
        ({"clip/label/index": (3,)}, "record 1 is broken .*a label is outside the 3 classes"),
        ({}, "holds 3 records instead of 2"),
    ],
)
def test_a_record_that_cannot_be_is_named_at_once(tmp_path, dataset_writer, change, message):
    write, make = dataset_writer
    folder = write(tmp_path / "d", {"training": make(3)})
    path = folder / "training-00000-of-00001.tfrecord"
    records = [tf.train.Example.FromString(data.numpy()) for data in tf.data.TFRecordDataset(path)]
    for key, value in change.items():
        feature = records[1].features.feature[key]
        if isinstance(value, bytes):
            feature.bytes_list.value[:] = [value]
        else:
            feature.int64_list.value[:] = value
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record.SerializeToString())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["splits"]["training"][0] |= {
        "bytes": path.stat().st_size,
        "videos": 3 if change else 2,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "training.index.npz").unlink()
    with pytest.raises(UserError, match=message):
        pipeline.Split.open(folder, "training")


def test_an_empty_split_is_refused(tmp_path, dataset_writer):
    write, make = dataset_writer
    folder = write(tmp_path / "d", {"testing": make(1)})
    manifest = dataclasses.replace(Manifest.load(folder), splits={"training": ()})
    manifest.save(folder)
    with pytest.raises(UserError, match="holds no video"):
        pipeline.Split.open(folder, "training")


@pytest.mark.parametrize("indexed", [True, False])
def test_records_of_another_file_system_are_the_same(data_set, split, config, indexed):
    folder = f"ram://records_{indexed}"
    tf.io.gfile.makedirs(folder)
    for path in data_set.iterdir():
        if path.is_file() and (indexed or path.suffix != ".npz"):
            tf.io.gfile.copy(str(path), f"{folder}/{path.name}")
    there = pipeline.Split.open(folder, "training")
    assert there.ids == split.ids and there.contents() == split.contents()
    for make in (pipeline.cascade_batches, pipeline.pyramid_batches):
        ours, theirs = (arrays(make(one, "rgb", config, seed=0)) for one in (split, there))
        assert same(ours, theirs)
    ours, theirs = (
        arrays(pipeline.whole_videos(one, streams=["flow"])) for one in (split, there.first(7))
    )
    assert [one["id"] for one in theirs] == [one["id"] for one in ours[:7]]
    shard = f"{folder}/training-00000-of-00001.tfrecord"
    tf.io.gfile.remove(shard)
    with pytest.raises(UserError, match=rf"^{shard}: this shard is missing"):
        list(records.readable(there.serialized(), there.manifest, "training"))

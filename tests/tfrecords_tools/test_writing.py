"""What is written: the same bytes each time, in shards, for other readers as well."""

import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf

import tfrecords_tools
from cpmn_tf.data import records
from cpmn_tf.data.index import Entry
from cpmn_tf.data.manifest import Manifest, StreamSpec
from cpmn_tf.data.records import VideoRecord, encode
from cpmn_tf.formats.annotations import Video, load_annotations
from tfrecords_tools import writing
from tfrecords_tools.writing import SplitWriter, write_metadata, write_shards


def build(folders, **options) -> Manifest:
    built = tfrecords_tools.build_records(
        features_dir=folders.features,
        annotations=folders.annotations,
        unit_frames=5,
        output_dir=folders.output,
        **options,
    )
    return built.manifest


def read(manifest, split) -> dict:
    dataset = tf.data.TFRecordDataset(manifest.shard_paths(split))
    parsed = dataset.map(lambda item: records.parse_with_segments(item, manifest))
    return {item["id"].decode(): item for item in parsed.as_numpy_iterator()}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_tfds_reads_it_without_our_code(folders, dtype):
    import tensorflow_datasets as tfds

    manifest = build(folders, dtype=dtype, shards=2)
    builder = tfds.builder_from_directory(str(folders.output))
    assert builder.info.splits["training"].num_examples == 3
    assert builder.info.features["clip"]["label"]["index"].feature.names == ["jump", "run"]
    seen = {}
    for item in builder.as_dataset(split="training").as_numpy_iterator():
        seen[item["example"]["id"].decode()] = item
    ours = read(manifest, "training")
    assert set(seen) == set(ours)
    for name, item in seen.items():
        for stream, values in ours[name]["features"].items():
            theirs = item["feature"][stream]
            assert theirs["bytes"].dtype == dtype
            np.testing.assert_array_equal(theirs["bytes"], values)
            np.testing.assert_array_equal(theirs["dimensions"], values.shape)
        np.testing.assert_array_equal(item["segment"]["end"]["seconds"], [1.0])
        np.testing.assert_array_equal(
            sorted(item["clip"]["label"]["index"]), ours[name]["labels"].nonzero()[0]
        )
        assert item["clip"]["duration"] == 3.5 and item["feature"]["rate"] == 2.0


def test_shards(folders, monkeypatch):
    whole = build(folders)
    assert [shard.videos for shard in whole.shards("training")] == [3]
    several = build(folders, shards=2, overwrite=True)
    assert [shard.file for shard in several.shards("training")] == [
        "training-00000-of-00002.tfrecord",
        "training-00001-of-00002.tfrecord",
    ]
    assert [shard.videos for shard in several.shards("training")] == [2, 1]
    assert [shard.videos for shard in several.shards("test")] == [1]  # no empty ones
    assert sum(shard.units for shard in several.shards("training")) == 21
    assert whole.fingerprint("training") != several.fingerprint("training")
    monkeypatch.setattr(writing, "SHARD_BYTES", 100)
    assert [shard.videos for shard in build(folders, overwrite=True).shards("training")] == [1] * 3


def test_same_input_same_bytes(folders, tmp_path):
    first = build(folders)
    folders.output = tmp_path / "again"
    assert build(folders).splits == first.splits


# The writer of shards alone.

PLAN = Manifest(
    streams=(StreamSpec("rgb", 3), StreamSpec("flow", 2)),
    dtype="float16",
    rate=2.0,
    classes=("Dive", "Jump"),
    splits={},
)


def record(number: int, units: int = 4) -> VideoRecord:
    rng = np.random.default_rng(number)
    return VideoRecord(
        id=f"video_{number}",
        duration=units / 2,
        rate=2.0,
        labels=(number % 2,),
        segments=((0.0, 1.0, number % 2),),
        features={
            "rgb": rng.normal(size=(units, 3)).astype(np.float32),
            "flow": rng.normal(size=(units, 2)).astype(np.float32),
        },
    )


def contents(path) -> list[bytes]:
    return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def numbers(path) -> list[int]:
    examples = map(tf.train.Example.FromString, contents(path))
    ids = [example.features.feature["example/id"].bytes_list.value[0] for example in examples]
    return [int(name.decode().partition("_")[2]) for name in ids]


def test_a_number_of_shards_is_filled_in_turn(tmp_path):
    manifest = write_shards(
        tmp_path, PLAN, [("training", record(number, 4 + number)) for number in range(7)], shards=3
    )
    shards = manifest.splits["training"]
    assert [shard.file for shard in shards] == [
        f"training-0000{number}-of-00003.tfrecord" for number in range(3)
    ]
    assert [numbers(tmp_path / shard.file) for shard in shards] == [[0, 3, 6], [1, 4], [2, 5]]
    assert [shard.videos for shard in shards] == [3, 2, 2]
    assert [shard.units for shard in shards] == [4 + 7 + 10, 5 + 8, 6 + 9]
    for shard in shards:
        data = (tmp_path / shard.file).read_bytes()
        assert (shard.bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {*(shard.file for shard in shards), "training.index.npz"}
    assert manifest.folder == str(tmp_path) and manifest.classes == PLAN.classes


def test_fewer_videos_than_shards(tmp_path):
    manifest = write_shards(tmp_path, PLAN, [("a", record(0)), ("a", record(1))], shards=5)
    assert [shard.file for shard in manifest.splits["a"]] == [
        "a-00000-of-00002.tfrecord",
        "a-00001-of-00002.tfrecord",
    ]


def test_by_size_a_shard_is_closed_when_it_is_full(tmp_path, monkeypatch):
    size = len(encode(record(0), PLAN))
    # Two records reach the size exactly, so the third begins the next shard.
    monkeypatch.setattr(writing, "SHARD_BYTES", 2 * size)
    manifest = write_shards(tmp_path, PLAN, [("a", record(number)) for number in range(5)])
    assert [numbers(tmp_path / shard.file) for shard in manifest.splits["a"]] == [
        [0, 1],
        [2, 3],
        [4],
    ]


def test_splits_are_written_apart_in_the_order_they_come(tmp_path):
    pairs = [("b", record(0)), ("a", record(1)), ("b", record(2))]
    manifest = write_shards(tmp_path, PLAN, pairs)
    assert list(manifest.splits) == ["b", "a"]
    (b,), (a,) = manifest.splits["b"], manifest.splits["a"]
    assert numbers(tmp_path / b.file) == [0, 2] and numbers(tmp_path / a.file) == [1]
    assert contents(tmp_path / a.file) == [encode(record(1), PLAN)]


def test_one_record_at_a_time(tmp_path):
    """Each is on its way to the disk before the next is asked for."""
    opened = []

    def given():
        for number in range(3):
            opened.append(len(list(tmp_path.glob("*.part"))))
            yield "a", record(number)

    write_shards(tmp_path, PLAN, given(), shards=3)
    assert opened == [0, 1, 2]


def test_a_failure_closes_the_shards_and_names_none(tmp_path, monkeypatch):
    closed = []
    close = SplitWriter.close
    monkeypatch.setattr(SplitWriter, "close", lambda self: (closed.append(self), close(self)))

    def given():
        yield "a", record(0)
        raise RuntimeError("a broken source")

    with pytest.raises(RuntimeError, match="a broken source"):
        write_shards(tmp_path, PLAN, given())
    assert len(closed) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a-00000.part"]
    assert contents(tmp_path / "a-00000.part") == [encode(record(0), PLAN)]


def test_closing_twice_is_no_error(tmp_path):
    writer = SplitWriter(folder=tmp_path, split="a", shards=None)
    writer.write(b"one", Entry("v", 1, (), 3))
    writer.close()
    writer.close()
    ((shard,), _) = writer.finish()
    assert contents(tmp_path / shard.file) == [b"one"]


def test_the_folder_opens_in_tfds_with_every_field(tmp_path):
    import tensorflow_datasets as tfds

    pairs = [("training", record(0)), ("training", record(1, 6)), ("testing", record(2))]
    manifest = write_shards(tmp_path, PLAN, pairs, shards=2)
    videos = {
        f"video_{number}": Video(f"video_{number}", split, (PLAN.classes[number % 2],))
        for number, split in enumerate(("training", "training", "testing"))
    }
    write_metadata(tmp_path, manifest, videos)
    assert Manifest.load(tmp_path).splits == manifest.splits
    annotations = load_annotations(tmp_path / "annotations.json")
    assert dict(annotations.videos) == videos and annotations.classes == PLAN.classes

    builder = tfds.builder_from_directory(str(tmp_path))
    assert {name: info.num_examples for name, info in builder.info.splits.items()} == {
        "training": 2,
        "testing": 1,
    }
    assert builder.info.splits["training"].shard_lengths == [1, 1]
    assert builder.info.splits["training"].num_bytes == sum(
        shard.bytes for shard in manifest.splits["training"]
    )
    assert builder.info.features["clip"]["label"]["index"].feature.names == ["Dive", "Jump"]
    examples = {
        item["example"]["id"]: item for item in tfds.as_numpy(builder.as_dataset("training"))
    }
    for number in (0, 1):
        ours, theirs = record(number, (4, 6)[number]), examples[f"video_{number}".encode()]
        for name, values in ours.features.items():
            np.testing.assert_array_equal(
                theirs["feature"][name]["bytes"], values.astype(np.float16)
            )
            assert theirs["feature"][name]["dimensions"].tolist() == list(values.shape)
        assert theirs["feature"]["dtype"] == b"float16" and theirs["feature"]["rate"] == 2.0
        assert theirs["clip"]["duration"] == ours.duration
        assert theirs["clip"]["label"]["index"].tolist() == [number]
        assert theirs["clip"]["label"]["string"].tolist() == [PLAN.classes[number].encode()]
        assert theirs["segment"]["start"]["seconds"].tolist() == [0.0]
        assert theirs["segment"]["end"]["seconds"].tolist() == [1.0]
        assert theirs["segment"]["label"]["index"].tolist() == [number]
    assert json.loads((tmp_path / "dataset_info.json").read_text())["version"] == "1.0.0"


def test_a_full_shard_is_closed_before_the_next_is_opened(tmp_path, monkeypatch):
    """A data set of any size needs one open file per split."""
    monkeypatch.setattr(writing, "SHARD_BYTES", 1)
    writer = SplitWriter(folder=tmp_path, split="training", shards=None)
    try:
        for _ in range(3):
            writer.write(b"record", 1)
            parts = sorted(tmp_path.iterdir())
            whole = [len(part.read_bytes()) == len(b"record") + 16 for part in parts[:-1]]
            assert all(whole)  # on the disk, not in a buffer
    finally:
        writer.close()
    assert len(parts) == 3

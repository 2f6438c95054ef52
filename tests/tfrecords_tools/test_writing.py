"""What is written: the same bytes each time, in shards, for other readers as well."""

import numpy as np
import pytest
import tensorflow as tf

import tfrecords_tools
from cpmn_tf.data import records
from cpmn_tf.data.manifest import Manifest
from tfrecords_tools import writing


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

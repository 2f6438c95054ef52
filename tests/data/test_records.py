"""Records: what is written is read, training sees no instance, and nothing broken passes."""

import dataclasses
import functools
import hashlib
import json
import operator
import os
import struct

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cpmn_tf.data import records, schema
from cpmn_tf.data.manifest import GRAPH_ARGUMENTS, Manifest, Shard, StreamSpec, check_stream_names
from cpmn_tf.errors import UserError
from cpmn_tf.inference import input_specs
from experiments.benchmarks.mutations import framed

SHARD = "training-00000-of-00001.tfrecord"


SOUND_SHARD = {"file": SHARD, "videos": 1, "units": 7, "bytes": 3, "sha256": ""}


def make_manifest(dtype="float32", **changes) -> Manifest:
    """Two streams of different widths, three classes."""
    values = {
        "streams": (StreamSpec("rgb", 3), StreamSpec("flow", 2)),
        "dtype": dtype,
        "rate": 5.0,
        "classes": ("run", "jump", "läuft"),
        "splits": {},
    }
    return Manifest(**{**values, **changes})


def make_record(key="video", units=7, **changes) -> records.VideoRecord:
    rng = np.random.default_rng(units)
    features = {
        "rgb": rng.normal(size=(units, 3)).astype(np.float32),
        "flow": rng.normal(size=(units, 2)).astype(np.float32),
    }
    values = {
        "id": key,
        "duration": units / 5,
        "rate": 5.0,
        "labels": (0, 2),
        "segments": ((0.5, 1.25, 2), (0.0, 0.25, 0)),
        "features": features,
    }
    return records.VideoRecord(**{**values, **changes})


def write_folder(folder, serialized, **changes) -> Manifest:
    """A data set of one split and one shard, read back."""
    path = folder / SHARD
    with tf.io.TFRecordWriter(str(path)) as writer:
        for item in serialized:
            writer.write(item)
    data = path.read_bytes()
    shard = Shard(SHARD, len(serialized), 7, len(data), hashlib.sha256(data).hexdigest())
    make_manifest(splits={"training": (shard,)}, **changes).save(folder)
    return Manifest.load(folder)


def altered(serialized: bytes, change) -> bytes:
    """A record after ``change(feature map)``."""
    example = tf.train.Example.FromString(serialized)
    change(example.features.feature)
    return example.SerializeToString()


GRAPHS = {}


def graph(parse, serialized: bytes, manifest: Manifest) -> dict:
    """Parses in a graph, as training does; each is traced once."""
    key = parse, manifest.dtype
    if key not in GRAPHS:
        GRAPHS[key] = tf.function(lambda item: parse(item, manifest))
    return GRAPHS[key](tf.constant(serialized))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_round_trip(dtype):
    manifest, record = make_manifest(dtype), make_record("-ein Wört'\"chen")
    parsed = graph(records.parse_with_segments, records.encode(record, manifest), manifest)
    assert parsed["id"].numpy().decode() == record.id
    assert parsed["length"].dtype == tf.int32 and parsed["length"] == 7
    assert parsed["rate"] == 5.0
    np.testing.assert_allclose(parsed["duration"], 1.4)
    np.testing.assert_array_equal(parsed["labels"], [1, 0, 1])
    np.testing.assert_array_equal(parsed["segments"], [[0.5, 1.25], [0, 0.25]])
    np.testing.assert_array_equal(parsed["segment_labels"], [2, 0])
    for name, values in record.features.items():
        assert parsed["features"][name].dtype == dtype
        np.testing.assert_array_equal(parsed["features"][name], values.astype(dtype))


def test_bytes_are_the_same_in_every_process():
    record = make_record(features={"rgb": np.ones((1, 3)), "flow": np.ones((1, 2))})
    serialized = records.encode(record, make_manifest())
    digest = hashlib.sha256(serialized).hexdigest()
    # A change of the schema changes this digest: raise SCHEMA_VERSION with it.
    assert digest == "0fffbf328783ec283d95e816213c5bc61b0b8855801230b571819111b1d008a5"
    keys = [key.encode() for key in sorted(records.training_spec(make_manifest()))]
    assert [serialized.index(key) for key in keys] == sorted(map(serialized.index, keys))


def test_a_record_holds_the_schema_and_nothing_else():
    manifest = make_manifest()
    example = tf.train.Example.FromString(records.encode(make_record(), manifest))
    fields = [*schema.VIDEO, *schema.SEGMENTS]
    for stream in manifest.streams:
        fields += schema.stream_fields(stream.name)
    assert sorted(example.features.feature) == sorted(field.key for field in fields)
    kinds = {"string": "bytes_list", "float32": "float_list", "int64": "int64_list"}
    for field in fields:
        stored = example.features.feature[field.key]
        assert stored.WhichOneof("kind") == kinds[field.dtype], field
        values = getattr(stored, kinds[field.dtype]).value
        assert field.shape == (None,) or len(values) == np.prod(field.shape), field


def test_one_stream_is_parsed_alone_even_beside_a_broken_one():
    manifest = make_manifest()

    def cut(feature):
        del feature["feature/rgb/bytes"]

    serialized = altered(records.encode(make_record(), manifest), cut)
    parsed = records.parse_training(serialized, manifest, ["flow"])
    assert list(parsed["features"]) == ["flow"]
    with pytest.raises(UserError, match="no stream 'depth'; there are: rgb, flow"):
        records.parse_training(serialized, manifest, ["depth"])


def test_one_unit_without_labels_or_segments():
    manifest = make_manifest()
    record = make_record(units=1, labels=(), segments=())
    parsed = graph(records.parse_with_segments, records.encode(record, manifest), manifest)
    assert parsed["features"]["rgb"].shape == (1, 3)
    np.testing.assert_array_equal(parsed["labels"], [0, 0, 0])
    assert parsed["segments"].shape == (0, 2) and parsed["segment_labels"].shape == (0,)


def test_training_parses_no_segment_key():
    manifest = make_manifest()
    assert not [key for key in records.training_spec(manifest) if key.startswith("segment")]
    variants = [make_record(segments=s) for s in ((), ((0.1, 0.2, 1),), make_record().segments)]
    parsed = [
        graph(records.parse_training, records.encode(item, manifest), manifest) for item in variants
    ]
    assert set(parsed[0]) == {"id", "length", "rate", "duration", "labels", "features"}
    for other in parsed[1:]:
        tf.nest.map_structure(np.testing.assert_array_equal, parsed[0], other)


def _int64(key, place, value):
    def change(feature):
        feature[key].int64_list.value[place] = value

    return change


def _float(key, value):
    def change(feature):
        feature[key].float_list.value[0] = value

    return change


def _bytes(key, value):
    def change(feature):
        feature[key].bytes_list.value[0] = value

    return change


BROKEN = {
    "units": _int64("feature/rgb/dimensions", 0, 6),
    "units of the second stream": _int64("feature/flow/dimensions", 0, 6),
    "huge units": _int64("feature/rgb/dimensions", 0, 2**62),
    "negative units": _int64("feature/rgb/dimensions", 0, -7),
    "width": _int64("feature/rgb/dimensions", 1, 2),
    "bytes": _bytes("feature/rgb/bytes", b"abc"),
    "no bytes": _bytes("feature/rgb/bytes", b""),
    "dtype": _bytes("feature/dtype", b"float16"),
    "label": _int64("clip/label/index", 0, 3),
    "negative label": _int64("clip/label/index", 0, -1),
    "huge label": _int64("clip/label/index", 0, 2**62),
    "rate": _float("feature/rate", 0.0),
    "duration": _float("clip/duration", float("nan")),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("parse", [records.parse_training, records.parse_with_segments])
def test_broken_records_are_refused_by_id(name, parse):
    manifest = make_manifest()
    serialized = altered(records.encode(make_record("the id"), manifest), BROKEN[name])
    for run in (graph, parse_eagerly):
        with pytest.raises(tf.errors.InvalidArgumentError, match="the id"):
            run(parse, serialized, manifest)


def parse_eagerly(parse, serialized: bytes, manifest: Manifest) -> dict:
    return parse(tf.constant(serialized), manifest)


def test_a_batch_is_parsed_whatever_its_records_dtypes():
    videos = {"float32": make_record("short", units=3), "float16": make_record("long", units=5)}
    serialized = [records.encode(video, make_manifest(kind)) for kind, video in videos.items()]
    features, *times = records.parse_batch(tf.constant(serialized), {"rgb": 3, "flow": 2})
    for row, (kind, video) in enumerate(videos.items()):
        for name, values in video.features.items():
            assert features[name].dtype == tf.float32 and features[name].shape[1] == 5
            np.testing.assert_array_equal(features[name][row, : len(values)], values.astype(kind))
            assert not features[name][row, len(values) :].numpy().any()
    assert [value.numpy().tolist() for value in times[:2]] == [[3, 5], [5.0, 5.0]]
    np.testing.assert_allclose(times[2], [0.6, 1.0])
    alone = records.parse_batch(tf.constant(serialized), {"flow": 2})[0]
    assert list(alone) == ["flow"]
    np.testing.assert_array_equal(alone["flow"], features["flow"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="feature/depth"):
        records.parse_batch(tf.constant(serialized), {"depth": 2})


@pytest.mark.parametrize("name", [*BROKEN][: [*BROKEN].index("label")])
def test_a_broken_record_of_a_batch_has_no_length(name):
    manifest = make_manifest()
    sound = records.encode(make_record(units=3), manifest)
    broken = altered(records.encode(make_record(), manifest), BROKEN[name])
    features, lengths, _, _ = records.parse_batch(
        tf.constant([broken, sound]), {"rgb": 3, "flow": 2}
    )
    assert lengths.numpy().tolist() == [-1, 3]
    assert features["rgb"].shape == (2, 3, 3) and not features["rgb"][0].numpy().any()


@pytest.mark.parametrize(
    "change",
    [
        _int64("segment/label/index", 0, 3),
        _float("segment/end/seconds", 0.0),
        _float("segment/end/seconds", float("inf")),
        _float("segment/start/seconds", float("nan")),
        lambda feature: feature["segment/label/index"].int64_list.value.append(0),
    ],
)
def test_broken_segments_are_refused_by_id(change):
    manifest = make_manifest()
    serialized = altered(records.encode(make_record("the id"), manifest), change)
    with pytest.raises(tf.errors.InvalidArgumentError, match="the id"):
        graph(records.parse_with_segments, serialized, manifest)
    graph(records.parse_training, serialized, manifest)  # does not look at them


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "../../x"}, "cannot name a file"),
        ({"id": "half \ud800"}, "cannot name a file"),
        ({"duration": 0.0}, "clip/duration is 0.0"),
        ({"rate": float("inf")}, "feature/rate is inf"),
        ({"rate": 1e-50}, "feature/rate is 1e-50"),  # 0 in float32
        ({"duration": 1e39}, "clip/duration is 1e"),
        ({"labels": (3,)}, "outside the 3 classes"),
        ({"segments": ((0, 1, -1),)}, "outside the 3 classes"),
        ({"features": {"rgb": np.ones((2, 3))}}, "has streams"),
        ({"features": {"rgb": np.ones((2, 3)), "flow": np.ones((3, 2))}}, r"\[2, 3\] units"),
        ({"features": {"rgb": np.ones((2, 4)), "flow": np.ones((2, 2))}}, "rgb has the shape"),
        ({"features": {"rgb": np.ones((0, 3)), "flow": np.ones((0, 2))}}, "has 0 units"),
        ({"features": {"rgb": np.full((2, 3), np.nan), "flow": np.ones((2, 2))}}, "holds NaN"),
    ],
)
def test_writer_refuses(changes, message):
    with pytest.raises(UserError, match=message):
        records.encode(make_record(**changes), make_manifest())


def test_float16_overflow_is_refused():
    features = {"rgb": np.full((1, 3), 7e4), "flow": np.ones((1, 2))}
    with pytest.raises(UserError, match="infinite values in float16"):
        records.encode(make_record(features=features), make_manifest("float16"))


def test_manifest_round_trip(tmp_path):
    manifest = write_folder(tmp_path, [b"abc"], rate=None, source={"seed": 3})
    assert manifest == dataclasses.replace(
        make_manifest(), rate=None, source={"seed": 3}, splits=manifest.splits
    )
    assert manifest.shard_paths("training") == [str(tmp_path / SHARD)]
    assert manifest.num_videos("training") == 1
    assert len(manifest.fingerprint("training")) == 64
    with pytest.raises(UserError, match="no split 'test'; there are: training"):
        manifest.shard_paths("test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema version 2, this program reads 1"),
        ({"dtype": "object"}, "dtype 'object'"),
        ({"rate": -1}, "rate -1"),
        ({"rate": "5"}, "damaged"),
        ({"rate": float("nan")}, "it holds NaN or infinity"),
        ({"source": "simulated"}, '"source" is not an object'),
        ({"source": {"a": json.loads("[" * 99 + "]" * 99)}}, "nested too deeply"),
        ({"streams": []}, "streams are none"),
        ({"streams": [{"name": "rate", "width": 1}]}, "reserved"),
        ({"streams": [{"name": "a/b", "width": 1}]}, "stream 'a/b'"),
        ({"streams": [{"name": "rgb", "width": 2**40}]}, "width"),
        ({"streams": [{"name": "lengths", "width": 1}]}, "'lengths': a model's graph cannot"),
        (
            {"streams": [{"name": name, "width": 1} for name in ("i3d-rgb", "i3d_rgb")]},
            "'i3d-rgb' and 'i3d_rgb': a model's graph would call both 'i3d_rgb'; rename one",
        ),
        ({"classes": ["a", "a"]}, "named twice"),
        ({"classes": [3]}, "class 3"),
        ({"splits": {"a/b": []}}, "subset 'a/b'"),
        ({"splits": {"training": [{"file": "../x-00000-of-00001.tfrecord"}]}}, "damaged"),
        ({"splits": {"training": [{**SOUND_SHARD, "sha256": 5}]}}, "its digest 5 is no text"),
        ({"splits": {"training": [{**SOUND_SHARD, "videos": 1 << 70}]}}, "is not a count"),
        ({"splits": 3}, "damaged"),
    ],
)
def test_broken_manifests_are_refused(tmp_path, change, message):
    write_folder(tmp_path, [b"abc"])
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=message) as error:
        Manifest.load(tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3)
LEAVES |= st.sampled_from([[], {}, [0], {"name": "x"}, "rgb", 1 << 70])
PLACES = [(key,) for key in ("dtype", "rate", "schema_version", "folder", "more", "source")]
PLACES += [("source", "seed"), ("classes",), ("classes", 0), ("streams",), ("streams", 0)]
PLACES += [("streams", 0, "name"), ("streams", 0, "width"), ("splits",), ("splits", "training")]
PLACES += [("splits", "training", 0, key) for key in (*SOUND_SHARD, "more")]


@settings(max_examples=80, derandomize=True, deadline=None)
@given(place=st.sampled_from(PLACES), leaf=LEAVES)
def test_whatever_a_manifest_holds_is_checked_or_one_line(tmp_path_factory, place, leaf):
    folder = tmp_path_factory.getbasetemp()
    shards = {"training": [dict(SOUND_SHARD)]}
    value = dataclasses.asdict(make_manifest(source={"seed": 3}, splits=shards, folder=None))
    del value["folder"]
    value["classes"], value["streams"] = list(value["classes"]), list(value["streams"])
    functools.reduce(operator.getitem, place[:-1], value)[place[-1]] = leaf
    (folder / "manifest.json").write_text(json.dumps(value))
    try:
        found = Manifest.load(folder)
    except UserError as error:
        assert str(folder) in str(error) and len(str(error).splitlines()) == 1
    else:
        assert found.simulated is False
        assert all(len(found.fingerprint(name)) == 64 for name in found.splits)
        json.dumps(dict(found.source), allow_nan=False)


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("Class", "3d", "a.b", "counts", "inputs", "RGB", "x-"), True),
        (("class",), False),
        (("None",), False),
        (("self",), False),
        (("Durations",), False),
        (("i3d-rgb", "i3d_rgb"), False),
        (("i3d.rgb", "i3d_rgb"), False),
        (("RGB", "rgb"), False),
        (("3d", "arg_3d"), False),
    ],
)
def test_the_streams_that_may_be_are_those_that_a_graph_takes(tmp_path, names, taken):
    """TensorFlow itself is asked; the arguments beside the streams are those of an export."""
    specs = input_specs(dict.fromkeys(names, 1))
    assert {*input_specs({}), "class_scores", "self"} == {*GRAPH_ARGUMENTS}
    module = tf.Module()
    try:
        module.detect = tf.function(lambda inputs: {"sum": inputs["lengths"]}, [specs])
        tf.saved_model.save(module, str(tmp_path), {"detect": module.detect})
        detect = tf.saved_model.load(str(tmp_path)).signatures["detect"]
        zeros = {
            name: tf.zeros([1, 1, 1][: spec.shape.rank], spec.dtype) for name, spec in specs.items()
        }
        assert detect(**zeros)["sum"].numpy() == [0]
        took = True
    except (TypeError, ValueError):
        took = False
    assert took == taken
    try:
        check_stream_names(names)
    except UserError:
        assert not taken
    else:
        assert taken


def test_manifest_does_not_lead_out_of_its_folder(tmp_path):
    write_folder(tmp_path, [b"abc"])
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace(SHARD, "../" + SHARD))
    with pytest.raises(UserError, match="is not named"):
        Manifest.load(tmp_path)


def damaged(tmp_path, change, serialized=None) -> str:
    """The explanation after ``change(bytes of the shard) -> bytes``."""
    manifest = make_manifest()
    serialized = serialized or [
        records.encode(make_record(f"v{index}"), manifest) for index in range(3)
    ]
    manifest = write_folder(tmp_path, serialized)
    path = tmp_path / SHARD
    path.write_bytes(change(bytearray(path.read_bytes())))
    message = str(records.explain_read_error(ValueError("x"), manifest, "training"))
    assert message.startswith(str(path)) and "\n" not in message
    return message


def test_truncated_shard_is_named_before_reading(tmp_path):
    assert "bytes instead of" in damaged(tmp_path, lambda data: data[:-5])
    os.remove(tmp_path / SHARD)
    with pytest.raises(UserError, match="shard is missing"):
        Manifest.load(tmp_path).shard_paths("training")


def test_every_flipped_byte_is_found(tmp_path):
    size = len(records.encode(make_record("v0"), make_manifest())) + 16  # its frame
    for place in (0, 9, size - 1, size + 20):

        def flip(data, place=place):
            data[place] ^= 16
            return data

        message = damaged(tmp_path, flip)
        assert f"record {place // size} is broken" in message


def test_a_record_longer_than_its_shard(tmp_path):
    def lengthen(data):
        data[:8] = struct.pack("<Q", 2**60)
        return data

    assert "record 0 is broken" in damaged(tmp_path, lengthen)


def test_a_length_that_its_checksum_fits_is_not_believed(tmp_path):
    path = tmp_path / SHARD
    path.write_bytes(framed(b"sound") + framed(b"sound"))
    records.check_frames([str(path)])
    path.write_bytes(framed(b"sound") + framed(b"1 TiB", 2**40))  # TensorFlow would die of it
    with pytest.raises(UserError, match=r"tfrecord: record 1 is broken \(it is longer"):
        records.check_frames([str(path)])


def test_broken_records_are_explained(tmp_path):
    good = records.encode(make_record("good"), make_manifest())
    bad = altered(records.encode(make_record("bad"), make_manifest()), BROKEN["huge units"])
    message = damaged(tmp_path, bytes, [good, bad])
    assert "record 1 is broken" in message and "bad" in message
    assert "record 1 is broken" in damaged(tmp_path, bytes, [good, good[:50]])
    assert "record 0 is broken" in damaged(tmp_path, bytes, [b"", good])

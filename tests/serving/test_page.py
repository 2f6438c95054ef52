"""What the page's endpoints answer, without a server: uploads, answers, and the file itself."""

import base64
import dataclasses
import hashlib
import io
import json
import re
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpmn_tf.config import Config
from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import UserError
from cpmn_tf.inference import batches
from cpmn_tf.plotting import collect_curves
from cpmn_tf.serving import page
from cpmn_tf.serving.protocol import Limits, Refusal
from cpmn_tf.training import load_model
from cpmn_tf.training.model_folder import ModelManifest

STREAMS = {"rgb": 3, "flow": 2}
LIMITS = Limits(request_bytes=1 << 20, video_units=500)
RGB = np.arange(12, dtype="f4").reshape(4, 3)
FLOW = np.arange(8, dtype="f4").reshape(4, 2) - 3


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(save=np.savez, **arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def header(shape: str, dtype: str = "'<f4'") -> bytes:
    """The begin of a .npy file that says what it likes."""
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "f2", "i1", "?"])
def test_npz_is_read_in_the_streams_order(save, dtype):
    rgb, flow = RGB.astype(dtype), np.asfortranarray(FLOW.astype(dtype))
    read = page.read_features(npz(save, flow=flow, rgb=rgb), STREAMS, LIMITS)
    assert list(read) == ["rgb", "flow"]
    for name, given_ in (("rgb", rgb), ("flow", flow)):
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name], given_.astype("f4"))


def test_npy_is_the_only_stream_or_all_beside_each_other():
    only = page.read_features(npy(RGB), {"rgb": 3}, LIMITS)
    np.testing.assert_array_equal(only["rgb"], RGB)
    both = page.read_features(npy(np.hstack([RGB, FLOW])), STREAMS, LIMITS)
    np.testing.assert_array_equal(both["rgb"], RGB)
    np.testing.assert_array_equal(both["flow"], FLOW)


PICKLED = io.BytesIO()
np.save(PICKLED, np.array([{}], object), allow_pickle=True)


@pytest.mark.parametrize(
    "body, said",
    [
        (npy(RGB), r"the array: its shape is \[4, 3\]; it must be \[units, 5\]"),
        (npy(RGB[0]), r"shape \[3\]; it must be numbers of shape \[units, values\]"),
        (npy(RGB[:0]), "no value"),
        (npy(RGB.astype("c8")), "is an array of complex64"),
        (PICKLED.getvalue(), "is an array of object"),
        (npy(np.zeros([4, 5]))[:-1], "not as long as its header says"),
        (npy(np.zeros([4, 5])) + b"x", "not as long as its header says"),
        (header("(4, -5)"), r"shape \[4, -5\]"),
        (header("(500, 5)"), "not as long as its header says"),
        (header("(501, 5)"), "has 501 units; the server takes 500"),
        (header("(1 << 60, 5)"), "is not a NumPy array file"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "is not a NumPy array file"),
        (npz(rgb=RGB), r"arrays are \['rgb'\]; it needs \['rgb', 'flow'\]"),
        (npz(rgb=RGB, flow=FLOW[:3]), "units are {'rgb': 4, 'flow': 3}; all need the same"),
        (npz(rgb=RGB, flow=np.full([4, 2], np.nan)), "array 'flow': holds values that are NaN"),
        (npz(rgb=RGB, flow=np.full([4, 2], 1e300)), "too large for float32"),
        (npz(rgb=RGB, flow=FLOW)[:-30], "damaged"),
        (b"PK", "damaged"),
        (zipped({f"{number}.npy": b"" for number in range(99)}), "holds too many arrays"),
        (zipped({"rgb.npy": npy(RGB), "flow.npy": npy(FLOW)}, zipfile.ZIP_LZMA), "compression"),
        (zipped({"rgb.npy": npy(RGB), "flow.npy": npy(FLOW)[:-1]}), "'flow': is not as long"),
        (zipped({"rgb.npy": npy(RGB), "flow.npy": b"no"}), "'flow': is not a NumPy array file"),
        (zipped({"x" * 9999: b"", "\n.npy": b""}), "arrays are"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(body, said):
    with pytest.raises(Refusal, match=said) as refused:
        page.read_features(body, STREAMS, LIMITS)
    assert refused.value.code == "INVALID_ARGUMENT"
    assert "\n" not in refused.value.message and len(refused.value.message) <= 300


def test_a_small_file_takes_little_memory_whatever_it_says():
    begin, zeros = header("(500, 3)"), bytes(20_000_000)
    honest = zipped({"rgb.npy": begin + zeros, "flow.npy": npy(FLOW)})
    # As many bytes as the header asks for, the directory says; the data go on.
    sizes = [(len(begin) + size).to_bytes(4, "little") for size in (len(zeros), 6000)]
    lying = honest.replace(*sizes)
    assert honest.count(sizes[0]) == 2 and lying.count(sizes[1]) == 2
    bombs = [honest, lying, header("(500, 5)")]
    for bomb in bombs:
        tracemalloc.start()
        with pytest.raises(Refusal):
            page.read_features(bomb, STREAMS, LIMITS)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 << 20


WHOLE = npz(rgb=RGB, flow=FLOW), npz(np.savez_compressed, rgb=RGB, flow=FLOW), npy(RGB)


@settings(deadline=None, max_examples=300)
@given(
    body=st.sampled_from(WHOLE),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4))),
    cut=st.floats(0, 1),
)
def test_any_change_of_a_file_is_read_or_refused(body, changes, cut):
    changed = bytearray(body)
    for place, data in changes:
        begin = int(place * len(changed))
        changed[begin : begin + len(data)] = data
    for data in (changed, changed[: int(cut * len(changed))]):
        try:
            read = page.read_features(bytes(data), STREAMS, LIMITS)
        except Refusal as refusal:
            assert "\n" not in refusal.message
        else:
            assert {name: values.shape[1] for name, values in read.items()} == STREAMS


def served_of(manifest: ModelManifest, **changes) -> page.Served:
    known = {"name": "cpmn", "version": 7, "status": ("fine", "too bad"), "limits": LIMITS}
    return page.Served(manifest=manifest, **(known | changes))


MANIFEST = ModelManifest(config=Config(), streams=STREAMS, classes=("Dive", "Jump", "Throw"))
BODY = npz(rgb=RGB, flow=FLOW)


def test_rate_and_duration():
    served = served_of(MANIFEST)
    video, top = page.read_video(served, {"rate": "2", "top": "5"}, BODY)
    assert (video.id, video.units, video.rate, video.duration, top) == ("video", 4, 2.0, 2.0, 5)
    video, top = page.read_video(served, {"rate": "2", "duration": "1.5"}, BODY)
    assert (video.duration, top) == (1.5, None)
    encoder = {"fps": 25.0, "unit_frames": 10}
    known = served_of(dataclasses.replace(MANIFEST, encoder=encoder))
    assert page.about(known)["rate"] == 2.5
    assert page.read_video(known, {}, BODY)[0].rate == 2.5
    assert page.read_video(known, {"rate": "5"}, BODY)[0].rate == 5.0
    inputs = video.inputs()
    assert {name: values.shape for name, values in inputs.items()} == {
        **{"rgb": (1, 4, 3), "flow": (1, 4, 2)},
        **dict.fromkeys(("lengths", "rates", "durations"), (1,)),
    }
    assert inputs["lengths"].dtype == np.int32 and inputs["rates"].dtype == np.float32


@pytest.mark.parametrize(
    "query, body, code, said",
    [
        ({}, BODY, "INVALID_ARGUMENT", "rate is missing"),
        ({"rate": "-1"}, BODY, "INVALID_ARGUMENT", "rate=-1: give a positive number"),
        ({"rate": "nan"}, BODY, "INVALID_ARGUMENT", "rate=nan: give a positive number"),
        ({"rate": "1e-40"}, BODY, "INVALID_ARGUMENT", "rate is 1e-40"),
        ({"rate": "1", "duration": "1e40"}, BODY, "INVALID_ARGUMENT", "duration is 1e"),
        ({"rate": "1", "top": "1.5"}, BODY, "INVALID_ARGUMENT", "top=1.5: give a whole"),
        ({"rates": "1"}, BODY, "INVALID_ARGUMENT", "'rates' is no parameter"),
        ({"example": "yes"}, b"", "INVALID_ARGUMENT", "example=yes: give true or false"),
        ({"example": "true"}, BODY, "INVALID_ARGUMENT", "with an empty body"),
        ({"example": "true"}, b"", "NOT_FOUND", "has no example"),
        ({"rate": "1"}, b"", "INVALID_ARGUMENT", "the body is empty"),
        ({"rate": "1"}, b"GIF89", "INVALID_ARGUMENT", "neither .npz nor .npy, and this model"),
        ({"rate": "1"}, bytes(1 << 21), "INVALID_ARGUMENT", "2097152 bytes; the server takes"),
    ],
)
def test_a_wrong_question_is_refused(query, body, code, said):
    with pytest.raises(Refusal) as refused:
        page.read_video(served_of(MANIFEST), query, body)
    assert refused.value.code == code and said in refused.value.message


@pytest.fixture(scope="module")
def model(drawn_model_dir):
    return load_model(drawn_model_dir)


@pytest.fixture(scope="module")
def asked(model, data_set) -> tuple[page.Video, dict, dict]:
    """A video of the data set, and what an export's `detect` and `score` give of it."""
    batch = next(iter(batches(Split.open(data_set, "testing"))))
    video = page.Video(
        id="video_010",
        features={name: np.asarray(values)[0] for name, values in batch["features"].items()},
        rate=float(batch["rate"][0]),
        duration=float(batch["duration"][0]),
        truth=(("Dive", 1.0, 2.5),),
    )
    inputs = video.inputs()
    features = {name: inputs[name] for name in model.streams}
    trace = model.trace(features, inputs["lengths"], inputs["rates"])
    scored = {name: np.asarray(value) for name, value in trace._asdict().items()}
    scored["grid_lengths"] = scored.pop("lengths")
    found = model.detect(trace, inputs["durations"])._asdict()
    return video, {name: np.asarray(value) for name, value in found.items()}, scored


def test_answer_is_what_a_picture_shows(model, data_set, asked):
    video, detected, scored = asked
    served = served_of(model.manifest)
    value = json.loads(json.dumps(page.answer(served, video, detected, scored), allow_nan=False))
    batch = next(iter(batches(Split.open(data_set, "testing"))))
    drawn = collect_curves(model, batch, model.manifest.classes)
    assert value["truth"] == [{"label": "Dive", "segment": [1.0, 2.5]}]
    assert (value["id"], value["version"], value["status"]) == ("video_010", 7, 0)
    found = sorted((item["label"], *item["segment"], item["score"]) for item in value["detections"])
    known = [(item.name, *row) for item in drawn.predicted for row in item.detections.tolist()]
    assert len(found) > 3 and found == sorted(known)
    scores = [item["score"] for item in value["detections"]]
    assert scores == sorted(scores, reverse=True)
    curves = value["curves"]
    assert curves["thinned"] == 1
    edges = drawn.edges
    np.testing.assert_allclose(curves["seconds"], (edges[1:] + edges[:-1]) / 2, rtol=1e-5)
    assert [item["label"] for item in curves["classes"]] == [one.name for one in drawn.predicted]
    for item, one in zip(curves["classes"], drawn.predicted, strict=True):
        assert item["p_class"] == pytest.approx(one.p_class, rel=1e-5)
        assert list(item["streams"]) == ["rgb", "flow"] and len(item["act"]) == len(edges) - 1
        for stream, kinds in item["streams"].items():
            assert list(kinds) == ["cascaded", "attention", "phi"]
            for kind, values in kinds.items():
                np.testing.assert_allclose(values, getattr(one.curves[stream], kind), rtol=1e-5)
    best = page.answer(served, video, detected, scored, top=2)["detections"]
    assert best == value["detections"][:2]


def test_long_curves_keep_the_maximum_of_each_bin(model, asked, monkeypatch):
    video, detected, scored = asked
    monkeypatch.setattr(page, "MOST_POINTS", 20)
    curves = page.answer(served_of(model.manifest), video, detected, scored)["curves"]
    units, step = int(scored["grid_lengths"][0]), curves["thinned"]
    assert step == -(-units // 20) > 1 and len(curves["seconds"]) == -(-units // step) <= 20
    # By hand: the first bin's middle, and the last one's, which may be shorter.
    second, last = float(scored["unit_seconds"][0]), (len(curves["seconds"]) - 1) * step
    assert curves["seconds"][0] == pytest.approx(step / 2 * second, rel=1e-5)
    assert curves["seconds"][-1] == pytest.approx((last + units) / 2 * second, rel=1e-5)
    row = int(np.argmax(scored["p_class"]))
    phi = scored["phi"][row, 1, :units]
    expected = [phi[begin : begin + step].max() for begin in range(0, units, step)]
    np.testing.assert_allclose(curves["classes"][0]["streams"]["flow"]["phi"], expected, rtol=1e-5)


def test_no_number_is_null_and_curves_are_of_the_most_probable_classes(model, asked, monkeypatch):
    video, detected, scored = asked
    phi = scored["phi"].copy()
    row = int(np.argmax(scored["p_class"]))
    phi[row, 0, :2] = np.nan, np.inf
    monkeypatch.setattr(page, "MOST_CLASSES", 1)
    value = page.answer(served_of(model.manifest), video, detected, {**scored, "phi": phi})
    json.dumps(value, allow_nan=False)
    (item,) = value["curves"]["classes"]
    assert item["streams"]["rgb"]["phi"][:2] == [None, None]
    assert item["label"] == model.manifest.classes[scored["rows"][row, 1]]


def test_a_model_without_attention_shows_none(model, asked):
    localization = dataclasses.replace(model.manifest.config.localization, attention=False)
    config = dataclasses.replace(model.manifest.config, localization=localization)
    served = served_of(dataclasses.replace(model.manifest, config=config))
    curves = page.answer(served, *asked)["curves"]
    assert list(curves["classes"][0]["streams"]["rgb"]) == ["cascaded", "phi"]


def test_a_videos_status_is_a_refusal(model, asked):
    video, detected, scored = asked
    with pytest.raises(Refusal, match="cannot be localized: too bad"):
        detected = {**detected, "status": np.array([1])}
        page.answer(served_of(model.manifest), video, detected, scored)


KNOWN = {"id": "clip", "rate": 2.0, "duration": 2.0, "labels": ["Jump"]}
KNOWN["segments"] = [{"label": "Jump", "segment": [0.5, 1]}]


@pytest.fixture
def version(tmp_path):
    """An export's folder, without its graph."""
    for part, name, value in (
        ("assets", "model.json", {**MANIFEST.to_dict(), "status": ["fine"]}),
        ("assets.extra", "example.json", KNOWN),
    ):
        (tmp_path / "3" / part).mkdir(parents=True)
        (tmp_path / "3" / part / name).write_text(json.dumps(value))
    (tmp_path / "3" / "assets.extra" / "example.npz").write_bytes(BODY)
    return tmp_path / "3"


def test_an_export_and_its_example(version):
    served = page.Served.open(version, "mine", LIMITS)
    assert page.about(served) == {
        "name": "mine",
        "version": 3,
        "classes": ["Dive", "Jump", "Throw"],
        "streams": STREAMS,
        "rate": None,
        "encodes_video": False,
        "example": {"id": "clip", "duration": 2.0},
        "limits": dataclasses.asdict(LIMITS),
    }
    video, _ = page.read_video(served, {"example": "true"}, b"")
    assert (video.id, video.truth) == ("clip", (("Jump", 0.5, 1.0),))
    np.testing.assert_array_equal(video.features["flow"], FLOW)
    (version / "assets.extra" / "example.json").unlink()
    assert page.about(page.Served.open(version, "mine", LIMITS))["example"] is None


@pytest.mark.parametrize("name, text", [("json", "{}"), ("json", "[1]"), ("npz", "PK")])
def test_a_damaged_example_is_named(version, name, text):
    (version / "assets.extra" / f"example.{name}").write_text(text)
    with pytest.raises(UserError, match=r"example\.json: is no example of this model"):
        page.Served.open(version, "mine", LIMITS)


def test_a_clip_is_encoded_as_the_training_videos_were(of_videos):
    page._opened.cache_clear()
    manifest = ModelManifest.load(of_videos.model)
    served = served_of(manifest, limits=Limits(), encodes_video=True)
    body = (of_videos.videos / "clip 1.mkv").read_bytes()

    def encode(path):
        return page.encode_upload(path, manifest, of_videos.encoder)

    video, _ = page.read_video(served, {}, body, encode)
    page.read_video(served, {}, body, encode)
    assert page._opened.cache_info().misses == 1
    assert (video.units, video.rate, video.duration) == (30, 5.0, 6.0)
    for stream in ("rgb", "flow"):
        stored = np.load(of_videos.encoded / "features" / stream / "clip 1.npy")
        np.testing.assert_allclose(video.features[stream], stored, rtol=1e-5, atol=1e-5)
    with pytest.raises(Refusal, match="the video") as refused:
        page.read_video(served, {}, b"no video at all", encode)
    assert "/" not in refused.value.message
    with pytest.raises(UserError, match="give the encoder that made"):
        other = of_videos.videos.parent / "networks" / "{stream}.keras"
        changed = json.loads(json.dumps(manifest.encoder))
        changed["streams"]["rgb"]["weights"] = "sha256:00"
        page.upload_encoder(dataclasses.replace(manifest, encoder=changed), str(other))


def test_a_model_that_does_not_say_how_it_saw_takes_no_clip(tmp_path):
    with pytest.raises(Refusal, match="does not say how its features were made") as refused:
        page.encode_upload(tmp_path / "video", MANIFEST)
    assert refused.value.code == "UNIMPLEMENTED"


def test_the_page_is_told_the_models_name():
    assert page.index("cpmn") == page.INDEX.read_bytes()
    assert b'name="model" content="a&quot;b"' in page.index('a"b')


@pytest.mark.parametrize("tag", ["script", "style"])
def test_the_pages_policy_names_the_hash_of_what_is_in_it(tag):
    text = page.INDEX.read_text(encoding="utf-8")
    (inner,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
    assert f"{tag}-src 'sha256-{digest}'" in text, "put this hash into the policy"
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), "nothing is from elsewhere"

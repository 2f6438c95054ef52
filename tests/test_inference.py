"""Running a model over videos: a split's records and one video's arrays give the same."""

import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf import inference
from cpmn_tf.data import pipeline
from cpmn_tf.errors import UserError
from cpmn_tf.formats.detections import Detections
from cpmn_tf.inference import localize
from cpmn_tf.serving.saved_model import load_exported
from cpmn_tf.training import load_model


@pytest.fixture(scope="module")
def model(model_dir):
    return load_model(model_dir)


@pytest.fixture(scope="module")
def loaded(exported):
    return load_exported(exported)


@pytest.fixture(scope="module")
def split(data_set) -> pipeline.Split:
    return pipeline.Split.open(data_set, "testing")


@pytest.fixture(scope="module")
def videos(split) -> list[dict]:
    """The testing videos one by one, as a user would have them."""
    return [
        {
            "id": batch["id"].numpy()[0].decode(),
            "features": {name: value.numpy()[0] for name, value in batch["features"].items()},
            "rate": float(batch["rate"][0]),
            "duration": float(batch["duration"][0]),
        }
        for batch in inference.batches(split)
    ]


def rows(detections: Detections, video: str) -> list[tuple]:
    """(class, start, end, score) of one video's detections, in their order."""
    mine = detections.video == detections.videos.index(video)
    columns = (detections.start, detections.end, detections.score)
    names = [detections.classes[label] for label in detections.label[mine]]
    return list(zip(names, *(column[mine].tolist() for column in columns), strict=True))


def test_arrays_give_what_the_records_give(model, loaded, data_set, videos):
    whole = localize(model, data_set, split="testing")
    assert len(whole) > 0 and whole.videos == tuple(video["id"] for video in videos)
    for video in videos:
        given = {"rate": video["rate"], "duration": video["duration"]}
        for one in (model, loaded):
            found = localize(one, video["features"], **given)
            assert found.videos == ("video",)
            assert rows(found, "video") == rows(whole, video["id"])


def test_detections_are_those_of_the_model_best_first(model, split, videos):
    """Against one call of the model for each video: class, place and score of every detection."""
    whole = localize(model, split)
    for video in videos:
        features = {name: values[np.newaxis] for name, values in video["features"].items()}
        units = len(video["features"]["rgb"])
        found = model(
            features,
            np.array([units], np.int32),
            np.array([video["rate"]], np.float32),
            np.array([video["duration"]], np.float32),
        )
        count = int(found.counts[0])
        expected = [
            (split.manifest.classes[label], *segment, score)
            for label, segment, score in zip(
                found.labels.numpy()[0, :count],
                found.segments.numpy()[0, :count].tolist(),
                found.scores.numpy()[0, :count].tolist(),
                strict=True,
            )
        ]
        got = rows(whole, video["id"])
        assert [row[0] for row in got] == [row[0] for row in expected]
        np.testing.assert_allclose(
            [row[1:] for row in got], [row[1:] for row in expected], rtol=1e-4, atol=1e-4
        )
        scores = [row[3] for row in got]
        assert scores == sorted(scores, reverse=True)


def test_the_split_is_the_configurations_test_split_by_default(model, data_set):
    assert localize(model, data_set).videos == localize(model, data_set, split="testing").videos
    assert len(localize(model, data_set, split="training").videos) == 10


def test_batches_change_nothing_but_the_padding(model, split):
    one, three = localize(model, split), localize(model, split, batch_size=3)
    assert one.videos == three.videos
    for video in one.videos:
        ours, theirs = rows(one, video), rows(three, video)
        assert [row[0] for row in ours] == [row[0] for row in theirs]
        np.testing.assert_allclose(
            [row[1:] for row in ours], [row[1:] for row in theirs], rtol=1e-4, atol=1e-4
        )


def test_batch_size_is_videos_per_call(model, split, monkeypatch):
    sizes, run = [], inference.compiled(model)

    def seen(features, lengths, *others):
        sizes.append(len(lengths))
        return run(features, lengths, *others)

    monkeypatch.setattr(inference, "compiled", lambda *_: seen)
    localize(model, split, batch_size=2)
    units = sorted(split.lengths.tolist(), reverse=True)
    assert sizes == pipeline.batch_sizes(units, 2) and 2 in sizes


@pytest.fixture(scope="module")
def uneven(dataset_writer, tmp_path_factory) -> pipeline.Split:
    """128 videos of 50 to 5000 units, by a log-normal distribution."""
    write, make = dataset_writer
    lengths = np.random.default_rng(0).lognormal(np.log(500), 1.0, 128).clip(50, 5000).astype(int)
    videos = [
        {**video, "id": f"{place:03d}"}
        for place, units in enumerate(lengths.tolist())
        for video in make(1, seed=place, lengths=(units, units + 1))
    ]
    folder = write(tmp_path_factory.mktemp("uneven") / "records", {"testing": videos}, num_shards=3)
    return pipeline.Split.open(folder, "testing")


def test_batches_are_of_videos_of_like_length(uneven):
    seen, last = [], 5000
    for batch in pipeline.whole_videos(uneven, batch_size=16):
        lengths, units = batch["length"].numpy(), batch["features"]["rgb"].shape[1]
        assert units == lengths[0] <= last and (np.diff(lengths) <= 0).all()
        assert len(lengths) <= 16 and 10 * lengths.sum() >= 9 * units * len(lengths)
        seen, last = seen + batch["id"].numpy().tolist(), lengths[-1]
    assert {key.decode() for key in seen} == set(uneven.ids) and len(seen) == 128


def test_detections_do_not_depend_on_the_batch(model, uneven):
    some = uneven.only(uneven.ids[::4])
    one, many = localize(model, some), localize(model, some, batch_size=16)
    assert one.videos == many.videos == tuple(uneven.ids[::4])
    for video in one.videos:
        ours, theirs = rows(one, video), rows(many, video)
        assert [row[0] for row in ours] == [row[0] for row in theirs]
        np.testing.assert_allclose(
            [row[1:] for row in ours], [row[1:] for row in theirs], rtol=1e-5, atol=1e-5
        )


def test_duration_is_the_units_by_default_and_clips(model, videos):
    video = videos[0]
    units = len(video["features"]["rgb"])
    assert rows(localize(model, video["features"], rate=10.0), "video") == rows(
        localize(model, video["features"], rate=10.0, duration=units / 10.0), "video"
    )
    short = localize(model, video["features"], rate=10.0, duration=1.5)
    assert len(short) > 0 and short.end.max() <= 1.5
    slow = localize(model, video["features"], rate=5.0)
    fast = localize(model, video["features"], rate=10.0)
    np.testing.assert_allclose(slow.end.max(), 2 * fast.end.max(), rtol=1e-5)


@pytest.mark.parametrize("name", ["model", "loaded"])
def test_class_scores_select_and_weigh(request, name, split, videos):
    one = request.getfixturevalue(name)
    assert one.manifest.config.localization.top_k == 2
    chosen = {video["id"]: [0.0, 0.25, 0.75] for video in videos}
    whole = localize(one, split, class_scores=chosen)
    assert set(whole.classes) == {"Jump", "Throw"}
    # A score is p_class plus the mean activation of a segment: other scores move it as much.
    more = localize(one, split, class_scores={key: [0.0, 0.25, 1.0] for key in chosen})
    ours, theirs = (rows(found, "video_010") for found in (whole, more))
    difference = {
        label: {(s, e): score for kind, s, e, score in theirs if kind == label}
        for label in ("Jump", "Throw")
    }
    for label, start, end, score in ours:
        other = difference[label][start, end]
        assert (other != score) == (label == "Throw")
    arrays = localize(
        one,
        videos[0]["features"],
        rate=videos[0]["rate"],
        duration=videos[0]["duration"],
        class_scores=[0.0, 0.25, 0.75],
    )
    assert rows(arrays, "video") == ours


def test_each_video_has_its_own_class_scores(model, split, videos):
    """Whatever the order of the mapping and the size of a batch."""
    scores = {video["id"]: np.eye(3)[number % 3] for number, video in enumerate(videos)}
    found = localize(model, split, class_scores=dict(reversed(scores.items())), batch_size=2)
    for video in videos:
        one = localize(
            model,
            video["features"],
            rate=video["rate"],
            duration=video["duration"],
            class_scores=scores[video["id"]],
        )
        ours, theirs = rows(one, "video"), rows(found, video["id"])
        assert [row[0] for row in ours] == [row[0] for row in theirs]
        np.testing.assert_allclose(
            [row[1:] for row in ours], [row[1:] for row in theirs], rtol=1e-4, atol=1e-4
        )


FAULTS = {  # what is changed of the second of three videos, and the status it gets
    "longer than its features": (lambda b: b["lengths"].__setitem__(1, 81), 1),
    "no unit": (lambda b: b["lengths"].__setitem__(1, 0), 1),
    "rate 0": (lambda b: b["rates"].__setitem__(1, 0), 2),
    "rate NaN": (lambda b: b["rates"].__setitem__(1, np.nan), 2),
    "duration 0": (lambda b: b["durations"].__setitem__(1, 0), 3),
    "duration NaN": (lambda b: b["durations"].__setitem__(1, np.nan), 3),
    "NaN": (lambda b: b["features"]["flow"][1].__setitem__((59, 7), np.nan), 4),
    "NaN in padding": (lambda b: b["features"]["flow"][1].__setitem__((60, 7), np.nan), 0),
    "class scores": (lambda b: b["class_scores"].__setitem__((1, 2), np.nan), 5),
    "beyond float32": (lambda b: b["features"]["rgb"][1].__setitem__(slice(60), 3e38), 6),
}


@pytest.mark.parametrize("external", [False, True], ids=["own", "external"])
@pytest.mark.parametrize("name", ["model", "loaded"])
def test_a_faulty_video_takes_nothing_from_the_others(request, name, external):
    """Their detections are those that they have without it, but for the rounding of a batch.

    Some processors' matrix products sum in another order for another number of rows.
    """
    one = request.getfixturevalue(name)
    run = inference.compiled(one, external)

    def batch():
        generator = np.random.default_rng(0)
        lengths = np.array([80, 60, 70], np.int32)
        there = np.arange(80)[:, np.newaxis] < lengths[:, np.newaxis, np.newaxis]
        features = {
            stream: np.float32(generator.normal(size=(3, 80, width)) * there)
            for stream, width in one.streams.items()
        }
        return {
            "features": features,
            "lengths": lengths,
            "rates": np.float32([10.0, 5.0, 10.0]),
            "durations": np.float32([8.0, 12.0, 7.0]),
            "class_scores": np.float32(generator.uniform(size=(3, 3))),
        }

    def found(batch, videos=(0, 1, 2)):
        taken = tf.nest.map_structure(lambda values: tf.constant(values[list(videos)]), batch)
        scores = taken.pop("class_scores")
        return run(*taken.values(), *([scores] if external else []))

    def rows(found, video):
        parts = (found.segments, found.labels, found.scores)
        return [part[video, : found.counts[video]].numpy().tolist() for part in parts]

    whole, without = found(batch()), found(batch(), (0, 2))
    assert whole.status.numpy().tolist() == [0, 0, 0] and min(whole.counts) > 0
    for fault, (change, code) in FAULTS.items():
        faulty = batch()
        change(faulty)
        if fault == "class scores" and not external:
            continue
        result = found(faulty)
        assert result.status.numpy().tolist() == [0, code, 0], fault
        for video, other in ((0, 0), (2, 1)):
            for ours, theirs in zip(rows(result, video), rows(without, other), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=fault)
        assert rows(result, 1) == (rows(whole, 1) if code == 0 else [[], [], []]), fault
        alone = found(faulty, (1,))
        assert alone.status.numpy().tolist() == [code] and (alone.counts[0] > 0) == (code == 0)


def test_a_faulty_record_is_named_or_left_out(
    model, data_set, dataset_writer, tmp_path, monkeypatch
):
    monkeypatch.setattr("cpmn_tf.data.records.all_finite", lambda _: True)  # our writer looks
    write, make = dataset_writer
    videos = make(15)[10:]
    videos[2]["flow"][3, 1] = np.nan
    folder = write(tmp_path / "records", {"testing": videos})
    message = rf"^{folder}: video 'video_012': its features are NaN .*; encode it anew$"
    with pytest.raises(UserError, match=message):
        localize(model, folder)
    faults = []
    found = localize(
        model, folder, batch_size=2, problem=lambda *arguments: faults.append(arguments)
    )
    ((kind, text, video),) = faults
    assert (kind, video) == ("record", "video_012") and re.match(message, text)
    whole = localize(model, data_set, batch_size=2)
    assert rows(found, "video_012") == [] != rows(whole, "video_012")
    assert rows(found, "video_010") == rows(whole, "video_010")
    assert found.videos == whole.videos


def test_silent_curves_are_reported(model, split, monkeypatch):
    lines = []
    localize(model, split, report=lines.append)
    detect = inference.compiled(model, False)

    def two_silent(*inputs):
        found = detect(*inputs)
        return found._replace(silent=0 * found.silent + 2)

    monkeypatch.setattr(inference, "compiled", lambda *_: two_silent)
    said = []
    localize(model, split, report=said.append)
    # Two in each of five videos.
    (line,) = said
    assert line.startswith("10 times a class's T-CAS in one stream was nowhere positive")
    assert all("nowhere positive" in line for line in lines)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"features": {"rgb": 12}}, r"features: their streams are \['rgb'\], the model's are"),
        ({"features": {"rgb": 12, "flow": 8, "audio": 4}}, r"\['audio', 'flow', 'rgb'\]"),
        (
            {"features": {"rgb": 12, "flow": 9}},
            r"\['flow'\]: its shape is \[30, 9\]; .* \[units, 8",
        ),
        ({"rate": None}, "`rate=None`: give a positive number of units per second"),
        ({"rate": 0.0}, "`rate=0.0`"),
        ({"rate": float("nan")}, "`rate=nan`"),
        ({"duration": -1.0}, "`duration=-1.0`: give a positive number of seconds"),
        ({"split": "testing"}, "`split=testing` is of a data set"),
        ({"class_scores": [0.1, 0.2]}, r"class_scores\['video'\]: its shape is \[2\]; .* \[3\]"),
        ({"class_scores": [0.1, 0.2, np.inf]}, r"class_scores.*: holds values that are NaN"),
    ],
)
def test_wrong_arrays_are_named(model, change, expected):
    given = {"features": {"rgb": 12, "flow": 8}, "rate": 10.0, **change}
    features = {
        name: np.zeros((30, width), np.float32) for name, width in given.pop("features").items()
    }
    with pytest.raises(UserError, match=expected):
        localize(model, features, **given)


@pytest.mark.parametrize(
    "values, expected",
    [
        (np.zeros((29, 8)), "the streams' units are .*'rgb': 30.*'flow': 29"),
        (np.full((30, 8), np.nan), r"features\['flow'\]: holds values that are NaN"),
        (np.full((30, 8), 1e300), r"features\['flow'\]: .*too large for float32"),
        (np.zeros((30, 8), complex), r"features\['flow'\]: is no array of numbers"),
        ([["a"] * 8] * 30, r"features\['flow'\]: is no array of numbers"),
        (np.zeros(8), r"features\['flow'\]: its shape is \[8\]"),
        ([[0.0] * 8, [0.0]], r"features\['flow'\]: is no array of numbers"),
    ],
)
def test_a_wrong_array_is_named(model, values, expected):
    with pytest.raises(UserError, match=expected):
        localize(model, {"rgb": np.zeros((30, 12)), "flow": values}, rate=10.0)


def test_no_unit_is_refused(model):
    empty = {"rgb": np.zeros((0, 12)), "flow": np.zeros((0, 8))}
    with pytest.raises(UserError, match="all need the same, above 0"):
        localize(model, empty, rate=10.0)


def test_arrays_of_other_kinds_are_taken(model, videos):
    half = {name: values.astype(np.float16) for name, values in videos[0]["features"].items()}
    wide = {name: values.astype(np.float64) for name, values in half.items()}
    lists = {name: values.tolist() for name, values in half.items()}
    first = rows(localize(model, half, rate=10.0), "video")
    assert first == rows(localize(model, wide, rate=10.0), "video")
    assert first == rows(localize(model, lists, rate=10.0), "video")


def test_wrong_use_of_a_data_set_is_named(model, data_set, split):
    with pytest.raises(UserError, match="`rate` and `duration` are given with arrays"):
        localize(model, data_set, rate=10.0)
    with pytest.raises(UserError, match="`rate` and `duration` are given with arrays"):
        localize(model, data_set, duration=10.0)
    scores = dict.fromkeys(split.ids[:-1], (0.1, 0.2, 0.3))
    with pytest.raises(UserError, match="`class_scores` has none of the video 'video_014'"):
        localize(model, data_set, class_scores=scores)
    with pytest.raises(UserError, match="`class_scores` has none of the video 'video_010'"):
        localize(model, data_set, class_scores={})
    scores = dict.fromkeys(split.ids, (0.1, 0.2))
    with pytest.raises(UserError, match=r"class_scores\['video_010'\]: its shape is \[2\]"):
        localize(model, data_set, class_scores=scores)


def test_a_data_set_of_other_streams_is_refused(model, data_set, tmp_path):
    other = shutil.copytree(data_set, tmp_path / "other")
    text = json.loads((other / "manifest.json").read_text())
    text["classes"][0] = "Climb"
    (other / "manifest.json").write_text(json.dumps(text))
    with pytest.raises(UserError, match="its classes are"):
        localize(model, other)


def test_one_stream_alone(model_dir, data_set, videos):
    flow = load_model(model_dir, streams=["flow"])
    assert list(flow.streams) == ["flow"]
    whole = localize(flow, data_set)
    only = {"flow": videos[0]["features"]["flow"]}
    found = localize(flow, only, rate=videos[0]["rate"], duration=videos[0]["duration"])
    assert rows(found, "video") == rows(whole, "video_010")


def test_detections_print_their_number_and_the_best(model, split):
    found = localize(model, split)
    lines = str(found).splitlines()
    assert lines[0] == f"{len(found)} detections in 5 videos"
    best = int(np.argmax(found.score))
    assert found.videos[found.video[best]] in lines[1]
    assert lines[1].endswith(f"{found.score[best]:.3f}") and len(lines) == 6

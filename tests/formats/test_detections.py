"""Detections in ActivityNet's JSON: what is read, what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpmn_tf.errors import UserError
from cpmn_tf.formats.detections import Detections, load_detections, save_detections

IDS = ("-a", "b c", "d'\"e", "vidéo 視頻", "v_test_0001")


VALUES = st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(["", "x", "1.5"])
VALUES |= st.lists(VALUES, max_size=3) | st.dictionaries(st.sampled_from(["label", ""]), VALUES)
SEGMENTS = st.tuples(st.floats(0, 9), st.floats(9, 20)) | VALUES
ROWS = {"label": st.just("x") | VALUES, "score": st.floats() | VALUES, "segment": SEGMENTS}
RESULTS = st.dictionaries(
    st.text(max_size=3),
    st.lists(st.fixed_dictionaries(ROWS) | st.fixed_dictionaries({}, optional=ROWS), max_size=2)
    | VALUES,
    max_size=2,
)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(value=st.fixed_dictionaries({"results": RESULTS}) | VALUES)
def test_whatever_json_holds_is_detections_or_one_line(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "drawn.json"
    path.write_text(json.dumps(value))
    try:
        found = load_detections(path)
    except UserError as error:
        assert str(path) in str(error) and len(str(error).splitlines()) == 1
    else:
        assert np.isfinite([found.start, found.end, found.score]).all()
        assert (found.start <= found.end).all()
        assert len(found) == sum(map(len, value["results"].values()))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({"predictions": {"v": []}}, ("results", "predictions")),
        ({"results": {"v": [{"label": "x", "timestamp": [0, 1], "score": 1}]}},
         ("segment", "timestamp")),
        ({"results": {"v": [{"label": "x", "segment": [0, 1], "confidence": 1}]}},
         ("score", "confidence")),
        ({"results": {"v": [{"class": "x", "segment": [0, 1], "score": 1}]}}, ("label", "class")),
    ],
)  # fmt: skip
def test_the_same_of_result_files(tmp_path, value, names):
    (tmp_path / "d.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match=f'd.json.* has no "{names[0]}", but {names[1]!r}; write'):
        load_detections(tmp_path / "d.json")


def test_detections_round_trip(tmp_path):
    rows = [
        ("b c", "run", 0.1, 1 / 3, -2.5),
        ("-a", "jump", 0.0, 0.0, 1e-300),
        ("b c", "jump", 5.0, 6.0, 3.0),
    ]
    detections = Detections.from_rows(IDS, rows)
    assert detections.videos == IDS and len(detections) == 3
    assert detections.video.dtype == np.int32 and detections.start.dtype == np.float64
    save_detections(tmp_path / "d.json", detections, "test")
    written = json.loads((tmp_path / "d.json").read_text())
    assert written["version"] == "VERSION 1.3"
    assert written["external_data"] == {"used": False, "details": "test"}
    again = load_detections(tmp_path / "d.json")
    assert again.videos == IDS  # those without detections too
    names = np.array(again.classes)[again.label].tolist()
    table = zip(np.array(again.videos)[again.video].tolist(), names, again.start, again.end,
                again.score, strict=True)  # fmt: skip
    assert sorted(table) == sorted(rows)


def test_the_best_of_each_video():
    rows = [("b", "x", 0.0, 1.0, 0.5), ("a", "x", 0.0, 1.0, 0.9), ("b", "y", 2.0, 3.0, 0.5),
            ("b", "x", 4.0, 5.0, 0.7), ("a", "y", 1.0, 2.0, 0.1)]  # fmt: skip
    detections = Detections.from_rows(("a", "empty"), rows)

    def kept(**limits):
        best = detections.best(**limits)
        assert (best.videos, best.classes) == (detections.videos, detections.classes)
        return [rows.index(row) for row in rows if row[2:] in set(zip(
            best.start.tolist(), best.end.tolist(), best.score.tolist(), strict=True))]  # fmt: skip

    assert kept() == [0, 1, 2, 3, 4]
    assert kept(least=0.5) == [0, 1, 2, 3]
    assert kept(count=1) == [1, 3]
    assert kept(count=2) == [0, 1, 3, 4]  # of the two that score 0.5 the earlier
    assert kept(least=0.2, count=2) == [0, 1, 3]


def test_by_video_in_time_order():
    rows = [("b", "x", 4.0, 5.0, 0.5), ("a", "y", 0.0, 1.0, 0.9), ("b", "y", 1.0, 3.0, 0.4)]
    detections = Detections.from_rows(("empty", "a"), rows)
    assert list(detections.by_video()) == [
        ("empty", []),
        ("a", [("y", 0.0, 1.0, 0.9)]),
        ("b", [("y", 1.0, 3.0, 0.4), ("x", 4.0, 5.0, 0.5)]),
    ]
    assert list(Detections.from_rows((), ()).by_video()) == []


def test_no_detections(tmp_path):
    empty = Detections.from_rows(("v",), ())
    assert len(empty) == 0 and empty.label.dtype == np.int32
    save_detections(tmp_path / "d.json", empty, "none")
    assert load_detections(tmp_path / "d.json").videos == ("v",)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (None, '"results" is not a JSON object'),
        ({"v": {}}, r"video 'v': its entry is not a JSON list; write \{\"results\""),
        ({"v": [{"label": 3}]}, "video 'v': a detection has the label 3; write the class's name"),
        ({"v": [[]]}, "video 'v': a detection is not a JSON object"),
        ({"v": [{"segment": [0, 1], "score": 1}]}, "video 'v': a detection has no label"),
        ({"v": [{"label": "x", "score": 1}]}, r"video 'v': the segment of 'x' is None"),
        ({"v": [{"label": "x", "segment": [0, 1]}]}, "video 'v': a score is None, not a number"),
        ({"v": [{"label": "x", "segment": [1, 0], "score": 1}]}, "ends before it starts"),
    ],
)
def test_bad_detections_are_named(tmp_path, results, message):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"results": results}))
    with pytest.raises(UserError, match=message) as caught:
        load_detections(path)
    assert str(caught.value).startswith(str(path))

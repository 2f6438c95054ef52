"""Label Studio's JSON against the examples of its documentation, and there and back.

The fixtures follow docs/source/tags/timelinelabels.md, the template
"Time series labeling" and "Label Studio JSON format of annotated tasks" (guide/export.md) of
HumanSignal/label-studio. Frames from 1 to the length, whole and both included, are those of its
editor: `fullFrameRange` in Video.js and `TimelineRange` in TimelineRegion.js.
"""

import copy
import json

import pytest

from cpmn_tf.errors import UserError
from cpmn_tf.formats.detections import Detections
from cpmn_tf.formats.label_studio import read_label_studio, sensor_tasks, video_tasks

# timelinelabels.md, "Example JSON", as a region of a whole export.
MOVING = {
    "id": "Dx_aB91ISN",
    "from_name": "timelineLabels",
    "to_name": "video",
    "type": "timelinelabels",
    "origin": "manual",
    "value": {"ranges": [{"start": 3, "end": 5}], "timelinelabels": ["Moving"]},
}
# The template's "Output format example"; times are of its own time column.
RUN = {
    "value": {
        "start": 1592250751951.8074,
        "end": 1592251071946.638,
        "instant": False,
        "timeserieslabels": ["Run"],
    },
    "id": "S1DkU7FSku",
    "from_name": "label",
    "to_name": "ts",
    "type": "timeserieslabels",
}
RECTANGLE = {"id": "r", "type": "videorectangle", "value": {"sequence": [], "labels": ["hand"]}}


def task(*regions, data=None, **others):
    annotation = {
        "id": "1001",
        "result": list(regions),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2021-03-09T22:16:08.728353Z",
        "updated_at": "2021-03-09T22:16:08.728378Z",
        "lead_time": 4.288,
        "completed_by": 10,
        **others,
    }
    data = data or {"video": "/data/upload/1/0a1b2c3d-clip.mp4"}
    return {"id": 1, "project": 83, "data": data, "annotations": [annotation], "predictions": []}


@pytest.fixture
def read(tmp_path):
    """What is read of an export that holds these tasks; 10 frames per second."""

    def write_and_read(*tasks):
        (tmp_path / "export.json").write_text(json.dumps(tasks))
        return read_label_studio(tmp_path / "export.json", lambda video: 10.0)

    return write_and_read


def test_documented_regions(read):
    labelled = read(task(MOVING, RECTANGLE), task(RUN, data={"csv": "https://x.org/run%201.csv"}))
    assert labelled.segments == {
        # Frames 3, 4 and 5 at 10 per second, counted from 1: from 0.2 s to 0.5 s.
        "clip": [{"label": "Moving", "segment": [0.2, 0.5]}],
        "run 1": [{"label": "Run", "segment": [1592250751951.8074, 1592251071946.638]}],
    }
    assert +labelled.left_out == {"regions of the type 'videorectangle'": 1}


def test_the_task_knows_its_own_rate_and_id(read):
    labelled = read(task(MOVING, data={"fps": "50", "video_id": "a.b", "video": "x/y.mp4"}))
    assert labelled.segments == {"a.b": [{"label": "Moving", "segment": [0.04, 0.1]}]}


def test_a_frame_is_a_segment_and_a_moment_is_none(read):
    one = copy.deepcopy(MOVING)
    one["value"] = {"ranges": [{"start": 1, "end": 1}], "timelinelabels": ["Moving", "Fast"]}
    moment = copy.deepcopy(RUN)
    moment["value"] |= {"end": moment["value"]["start"], "instant": True}
    bare = copy.deepcopy(MOVING)
    del bare["value"]["timelinelabels"]
    labelled = read(task(one, moment, bare))
    assert labelled.segments["clip"] == [
        {"label": "Moving", "segment": [0.0, 0.1]},
        {"label": "Fast", "segment": [0.0, 0.1]},
    ]
    assert +labelled.left_out == {"moments without a length": 1, "regions without a label": 1}


def test_one_annotation_of_a_task_counts(read):
    def with_label(label, **others):
        region = copy.deepcopy(MOVING)
        region["value"]["timelinelabels"] = [label]
        return task(region, **others)["annotations"][0]

    early = with_label("early", updated_at="2021-01-01T00:00:00Z")
    late = with_label("late", updated_at="2021-02-01T00:00:00Z")
    truth = with_label("truth", updated_at="2020-01-01T00:00:00Z", ground_truth=True)
    skipped = with_label("skipped", updated_at="2022-01-01T00:00:00Z", was_cancelled=True)

    def label_of(*annotations):
        labelled = read({**task(), "annotations": list(annotations)})
        return labelled.segments["clip"][0]["label"], labelled.left_out.total()

    assert label_of(late, early) == label_of(early, late) == ("late", 1)
    assert label_of(truth, late, skipped) == ("truth", 1)


def test_tasks_without_regions(read):
    skipped = task(MOVING, was_cancelled=True, data={"video": "b.mp4"})
    nobody = {**task(data={"video": "c.mp4"}), "annotations": []}
    labelled = read(task(), skipped, nobody)
    assert labelled.segments == {"clip": []}  # submitted: it shows nothing
    assert +labelled.left_out == {"tasks that nobody labelled": 2}


def broken(change):
    region = copy.deepcopy(MOVING)
    change(region["value"])
    return task(region)


@pytest.mark.parametrize(
    "tasks, message",
    [
        ([{"video": "a.mp4", "tag": []}], r'task 1 has no "annotations"; export as JSON, not'),
        ([[]], "task 1 is not a JSON object"),
        ([{**task(), "annotations": {}}], "task 1: its annotations is not a JSON list"),
        ([task(), task()], "task 2: video 'clip' is in another task, too"),
        ([task(data={"id": 4})], 'task 1: its data names no file of a video; add "video_id"'),
        ([task("x")], "video 'clip': a region is not a JSON object"),
        ([broken(lambda v: v.update(ranges=None))], "a region's ranges is not a JSON list"),
        ([broken(lambda v: v["ranges"][0].pop("end"))], "a range's end is None, not a number"),
        ([broken(lambda v: v["ranges"][0].update(end=1))], "'clip': a segment ends before it"),
        ([task(MOVING, data={"video": "a.mp4", "fps": -1})], "'a': fps is -1.0; it must be"),
    ],
)
def test_broken_exports_are_named(read, tasks, message):
    with pytest.raises(UserError, match=rf"export\.json: .*{message}"):
        read(*tasks)


def test_predictions_as_the_editor_takes_them():
    rows = [("a b", "Jump", 1.0, 2.0, 0.5), ("a b", "Run", 0.0, 0.004, 0.75)]
    (made,) = video_tasks(
        Detections.from_rows((), rows),
        rate=lambda video: 25.0,
        media="https://x/{}.mp4",
        version="m",
    )
    assert made["data"] == {"video": "https://x/a%20b.mp4", "video_id": "a b", "fps": 25.0}
    (prediction,) = made["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("m", 0.75)
    short, jump = prediction["result"]
    assert short["value"]["ranges"] == [{"start": 1, "end": 1}]  # never less than a frame
    # From the beginning of frame 26, at 25/25 s, to the end of frame 50, at 50/25 s.
    assert jump["value"] == {"ranges": [{"start": 26, "end": 50}], "timelinelabels": ["Jump"]}
    assert (jump["type"], jump["to_name"], jump["score"]) == ("timelinelabels", "video", 0.5)
    assert short["id"] != jump["id"]
    (series,) = sensor_tasks(Detections.from_rows((), rows), media="{}.csv", version="m")
    assert series["data"] == {"series": "a%20b.csv", "video_id": "a b"}
    value = {"start": 1.0, "end": 2.0, "instant": False, "timeserieslabels": ["Jump"]}
    region = series["predictions"][0]["result"][1]
    assert (region["type"], region["value"]) == ("timeserieslabels", value)


def test_nothing_found_is_an_empty_prediction():
    found = Detections.from_rows(["a"], [])
    (made,) = video_tasks(found, rate=lambda video: 25.0, media="{}.mp4", version="m")
    assert made["predictions"] == [{"model_version": "m", "score": 0.0, "result": []}]

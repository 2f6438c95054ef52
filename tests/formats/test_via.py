"""VIA 3 projects against one that people saved, and there and back."""

import copy
import json

import pytest

from cpmn_tf.errors import UserError
from cpmn_tf.formats.detections import Detections
from cpmn_tf.formats.via import read_via, via_project

# Saved by VIA 3: 01NVb_003_072_T1_4CV.json of
# vital-ultrasound/ai-echocardiography-for-low-resource-countries, shortened; a third video and a
# segment of the default option are ours. Fields are those of via-3.x.y/CodeDoc.md of ox-vgg/via.
SAVED = {
    "project": {
        "pid": "__VIA_PROJECT_ID__",
        "rev": "__VIA_PROJECT_REV_ID__",
        "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
        "pname": "Unnamed VIA Project",
        "creator": "VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)",
        "created": 1633679891098,
        "vid_list": ["1", "2", "3"],
    },
    "config": {
        "file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}},
        "ui": {"file_content_align": "center", "gtimeline_visible_row_count": "4"},
    },
    "attribute": {
        "1": {
            "aname": "TEMPORAL-SEGMENTS",
            "anchor_id": "FILE1_Z2_XY0",
            "type": 4,
            "desc": "Temporal segment attribute added by default",
            "options": {"default": "Default"},
            "default_option_id": "",
        }
    },
    "file": {
        "1": {"fid": "1", "fname": "01NVb-003-072-3 echo.mp4", "type": 4, "loc": 1, "src": ""},
        "2": {"fid": "2", "fname": "01NVb-003-072-1 echo.mp4", "type": 4, "loc": 1, "src": ""},
        "3": {"fid": "3", "fname": "not looked at.mp4", "type": 4, "loc": 1, "src": ""},
    },
    "metadata": {
        "1_jcQtDcYu": {
            "vid": "1",
            "flg": 0,
            "z": [324.94525, 326.86192],
            "xy": [],
            "av": {"1": "4CV_NP"},
        },
        "1_JbOOmCkx": {
            "vid": "1",
            "flg": 0,
            "z": [325.30608],
            "xy": [2, 1607.774, 1051.472, 201.735, 12.226],
            "av": {"1": "4CV_NP"},
        },
        "2_eDtXJOrh": {
            "vid": "2",
            "flg": 0,
            "z": [325.257, 326.60331],
            "xy": [],
            "av": {"1": "default"},
        },
    },
    "view": {"1": {"fid_list": ["1"]}, "2": {"fid_list": ["2"]}, "3": {"fid_list": ["3"]}},
}


@pytest.fixture
def read(tmp_path):
    """What is read of a project."""

    def write_and_read(project):
        (tmp_path / "via.json").write_text(json.dumps(project))
        return read_via(tmp_path / "via.json")

    return write_and_read


def test_a_saved_project(read):
    labelled = read(SAVED)
    assert labelled.segments == {
        "01NVb-003-072-3 echo": [{"label": "4CV_NP", "segment": [324.94525, 326.86192]}],
        "01NVb-003-072-1 echo": [{"label": "Default", "segment": [325.257, 326.60331]}],
    }
    assert labelled.left_out == {
        "regions of pictures, and moments": 1,
        "videos without a segment": 1,
    }


def changed(*path, value):
    project = copy.deepcopy(SAVED)
    place = project
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return project


def test_several_options_and_none(read):
    project = changed("attribute", "1", "type", value=2)  # checkboxes
    project["attribute"]["1"]["options"] = {"0": "Jump", "1": "Run"}
    project["metadata"]["1_jcQtDcYu"]["av"] = {"1": "0,1"}
    project["metadata"]["2_eDtXJOrh"]["av"] = {}
    labelled = read(project)
    (items,) = labelled.segments.values()
    assert [item["label"] for item in items] == ["Jump", "Run"]
    assert labelled.left_out["segments without a label"] == 1


@pytest.mark.parametrize(
    "project, message",
    [
        ({"_via_settings": {}}, "a part of the project is not a JSON object"),  # VIA 2's
        (changed("attribute", value={}), "has no attribute of temporal segments"),
        (changed("metadata", "2_eDtXJOrh", "z", value=None), "'2_eDtXJOrh': its \"z\" is not"),
        (changed("metadata", "2_eDtXJOrh", "z", value=[2, 1]), "'2_eDtXJOrh': a segment ends bef"),
        (changed("metadata", "2_eDtXJOrh", "z", value=[2, "x"]), "'2_eDtXJOrh': a segment is 'x'"),
        (changed("metadata", "2_eDtXJOrh", "av", value=[]), 'its "av" is not a JSON object'),
        (changed("metadata", "2_eDtXJOrh", "vid", value="9"), "'2_eDtXJOrh': its view is not"),
        (changed("view", "2", "fid_list", value=["1", "2"]), "its view shows 2 files; label one"),
        (changed("view", "2", "fid_list", value=["8"]), "'2_eDtXJOrh': its file is not"),
        (changed("view", "2", "fid_list", value=["1"]), "072-3 echo' is in another view, too"),
        (changed("file", "2", "fname", value=7), 'its file has no "fname"; save the project'),
    ],
)
def test_broken_projects_are_named(read, project, message):
    with pytest.raises(UserError, match=rf"via\.json: .*{message}"):
        read(project)


def test_detections_as_a_project():
    """Every part that the saved project has, and a time line per class."""
    rows = [("a b", "Jump", 1.25, 2.0, 0.5), ("c", "Run", 0.0, 0.5, 1 / 3)]
    project = via_project(Detections.from_rows(["a b", "empty"], rows), media="videos/{}.mp4")
    assert project.keys() == SAVED.keys()
    assert project["project"].keys() >= SAVED["project"].keys()
    assert project["config"].keys() == SAVED["config"].keys()
    assert project["attribute"]["1"].keys() == SAVED["attribute"]["1"].keys()
    assert project["attribute"]["1"]["options"] == {"Jump": "Jump", "Run": "Run"}
    assert project["project"]["vid_list"] == ["1", "2", "3"] == list(project["view"])
    assert project["file"]["1"] == {
        "fid": "1",
        "fname": "a b.mp4",
        "type": 4,
        "loc": 3,  # a path from VIA's own file
        "src": "videos/a%20b.mp4",
    }
    first, second = project["metadata"].values()
    assert first == {
        "vid": "1",
        "flg": 0,
        "z": [1.25, 2.0],
        "xy": [],
        "av": {"1": "Jump", "2": "0.5"},
    }
    assert (second["vid"], second["av"]) == ("3", {"1": "Run", "2": "0.3333"})
    online = via_project(Detections.from_rows(["a"], []), media="https://x.org/{}.webm")
    assert (online["file"]["1"]["loc"], online["metadata"]) == (2, {})

"""Annotations in a CSV: the same parser afterwards."""

import pytest

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import Instance, load_annotations


@pytest.fixture
def load(tmp_path):
    def loaded(text):
        (tmp_path / "x.csv").write_text(text, encoding="utf-8")
        return load_annotations(tmp_path / "x.csv")

    return loaded


def test_a_line_per_instance(load):
    annotations = load(
        "video,t-start,t-end,label,Split,fps,duration,remark\n"
        "v,5,10,Jump,test,25,60,x\n"
        "w,1,9,Dive,training,30,,\n"
        "v,20.5,30,Dive,test,25,60,\n"
        "v,40,50,Ambiguous,test,25,60,\n"
        "w,,,Jump,training,30,,\n"
        "u,,,,test,,,\n"
    )
    video = annotations.videos["v"]
    assert video.instances == (Instance(5.0, 10.0, "Jump"), Instance(20.5, 30.0, "Dive"))
    assert (video.subset, video.fps, video.duration) == ("test", 25.0, 60.0)
    assert video.ambiguous == ((40.0, 50.0),) and annotations.classes == ("Dive", "Jump")
    assert annotations.videos["w"].unsegmented == ("Jump",)
    assert annotations.videos["u"].labels == ()


def test_a_line_per_video(load):
    annotations = load("v,Jump|Dive\nw,\n")
    assert annotations.videos["v"].labels == ("Jump", "Dive") and not annotations.videos["w"].labels
    assert {video.subset for video in annotations.videos.values()} == {"training"}


def test_both_forms_of_an_id_are_one_video(load):
    rows = "Plonge\u0301e,1,2,x\nPlong\u00e9e,3,4,x\n"
    (video,) = load("video,start,end,label\n" + rows).videos.values()
    assert [item.start for item in video.instances] == [1.0, 3.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,start,end,label\nv,1,,x\n", "'v': the segment of 'x' is '', not a number"),
        ("video,start,end,label\nv,9,1,x\n", "'v': the segment of 'x' ends before it starts"),
        ("video,start,end,label\n ,1,2,x\n", "line 2: names no video"),
        ("video,start,label\nv,1,x\n", "has a column 'start' alone"),
        ("video,start,end,label\nv,1,2,x\nv,3,4,\n", "line 3: a segment without a label; add it"),
        ('video,segment,label\nv,"1,2",x\n', "line 2 has no \"start\", but 'segment'"),
        ("video;start;end;label\nv;1;2;x\n", "line 1: has ';' between its fields; write commas"),
        ("v\tx\nw\ty\n", r"line 1: has '\\t' between its fields"),
        ("video,begin,stop,label\nv,1,2,x\n", "line 2 has no \"start\", but 'begin'"),
        ("video,labels,subest\nv,x,test\n", "line 2 has no \"subset\", but 'subest'"),
        ("video,labels,data split\nv,x,test\n", "line 2 has no \"subset\", but 'data split'"),
        (
            "video,start,end,label,subset\nv,1,2,x,test\nv,3,4,x,training\n",
            "line 3: another subset, fps or duration of the video 'v' than before",
        ),
        ("v,\nv,y\n", "line 2: a second line of the video 'v'"),
    ],
)
def test_bad_tables_are_named(load, text, message):
    with pytest.raises(UserError, match=message):
        load(text)

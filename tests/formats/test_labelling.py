"""Ids out of what tools call files, and what is known of each video."""

import pytest

from cpmn_tf.errors import UserError
from cpmn_tf.formats.labelling import Labelled, id_of, location, read_video_info


@pytest.mark.parametrize(
    "file, name",
    [
        ("clip.mp4", "clip"),
        ("https://example.com/a/clip.WEBM", "clip"),
        ("/data/local-files/?d=mydata/person 01.mp4", "person 01"),
        ("/data/upload/3/0a1b2c3d-clip-7.mov", "clip-7"),
        ("deadbeef-clip.mp4", "deadbeef-clip"),  # not uploaded
        ("C:\\videos\\-b c.avi", "-b c"),
        ("talk 1.2", "talk 1.2"),
        ("talk 1.2.mkv", "talk 1.2"),
        ("clip.mp4.mp4", "clip.mp4"),
    ],
)
def test_id(file, name):
    assert id_of(file) == name


def test_location_is_quoted():
    assert location("https://x.org/{}.mp4", "a b/ü?#") == "https://x.org/a%20b%2F%C3%BC%3F%23.mp4"


def test_video_info(tmp_path):
    path = tmp_path / "videos.csv"
    path.write_text("video,fps,duration,frames\na,25,10.5,262\nb,,,\n")
    assert read_video_info(path) == {"a": {"fps": 25.0, "duration": 10.5}, "b": {}}
    path.write_text("video,fps\na,0\n")
    with pytest.raises(UserError, match=r"videos\.csv line 2: fps is 0\.0; it must be positive"):
        read_video_info(path)
    path.write_text("video,fps\na,25\na,30\n")
    with pytest.raises(UserError, match=r"line 3: a second line of the video 'a'; keep one"):
        read_video_info(path)


def test_segments():
    labelled = Labelled()
    labelled.add("v", ["a", "b"], [1, "2.5"], "here")
    labelled.add("v", ["a"], [3, 3], "here")
    assert labelled.segments == {
        "v": [{"label": "a", "segment": [1.0, 2.5]}, {"label": "b", "segment": [1.0, 2.5]}]
    }
    assert labelled.left_out == {"moments without a length": 1}
    for segment, message in (
        ([2, 1], "ends before it starts"),
        ([0, float("inf")], "must be finite"),
        ([0, "2020-01-01"], "not a number"),
        ([0, None], "not a number"),
        ([0], r"must be \[start, end\]"),
    ):
        with pytest.raises(UserError, match=f"here: a segment.*{message}"):
            labelled.add("v", ["a"], segment, "here")

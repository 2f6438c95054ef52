"""Detections and truth as others write them, and the errors that name what is wrong."""

import hashlib
import json

import pytest

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import Instance
from cpmn_tf.formats.detection_files import load_detection_file
from cpmn_tf.formats.thumos_text import digest, load_official, load_truth

ROWS = [("a", "Diving", 1.5, 2.5, 0.75), ("-b c", "Billiards", 0.0, 4.0, -2.0)]


def rows_of(detections):
    return [
        (detections.videos[video], detections.classes[label], start, end, score)
        for video, label, start, end, score in zip(
            detections.video.tolist(),
            detections.label.tolist(),
            detections.start.tolist(),
            detections.end.tolist(),
            detections.score.tolist(),
            strict=True,
        )
    ]


def written(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_json_csv_and_text_give_the_same(tmp_path):
    results = {
        video: [{"label": label, "segment": [str(start), end], "score": score}]
        for video, label, start, end, score in ROWS
    }
    text = json.dumps({"version": "VERSION 1.3", "results": {**results, "empty": []}})
    found = load_detection_file(written(tmp_path, "d.json", text))
    assert rows_of(found) == ROWS
    assert "empty" in found.videos  # looked at, nothing found
    text = "Score,label,t-start,t-end,video-id\n0.75,Diving,1.5,2.5,a\n\n-2,Billiards,0,4,-b c\n"
    assert rows_of(load_detection_file(written(tmp_path, "d.csv", "\ufeff" + text))) == ROWS
    # Official numbers and names; extensions after the id are dropped.
    text = "a.mp4 1.5 2.5 26 0.75\n\nb.mpeg  0 4\tBilliards -2\r\n"
    found = rows_of(load_detection_file(written(tmp_path, "d.TXT", text)))
    assert found == [ROWS[0], ("b", *ROWS[1][1:])]


def test_a_class_named_by_digits_is_not_a_number(tmp_path):
    path = written(tmp_path, "d.txt", "a 0 1 26 0.5\n")
    assert load_detection_file(path, classes=["26"]).classes == ("26",)
    assert load_detection_file(path).classes == ("Diving",)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("d.npy", "", "read from .json"),
        ("d.txt", "a 0 1 0.5\n", r"d.txt line 1: has 4 fields; write: video start end class"),
        ("d.txt", "a 0 1 Diving 1\na 3 1 Diving 1\n", r"line 2: the segment ends before"),
        ("d.txt", "a 0 1 1 0.5\n", r"line 1: 1 is not the number of a THUMOS14 class"),
        ("d.txt", f"a 0 1 {'9' * 5000} 0.5\n", r"line 1: 9{40} is not the number of a THUMOS14"),
        ("d.txt", "a 0 1 Diving inf\n", r"line 1: the score is inf; it must be finite"),
        ("d.csv", "", "is empty; write a line that names the columns"),
        ("d.csv", "video,start,end,label\n", r"no column 'score' among video, start, end, label"),
        ("d.csv", "video,video\n", r"has two columns 'video'"),
        ("d.csv", "video,start,end,label,score\na,1,2,x\n", r"line 2: has 4 fields instead of 5"),
        ("d.csv", "video,start,end,label,score\na,1,x,x,1\n", r"the segment is 'x', not a number"),
        ("d.csv", "video,start,end,label,score\n,1,2,x,1\n", r"line 2: names no video"),
    ],
)
def test_bad_files_are_named(tmp_path, name, text, message):
    with pytest.raises(UserError, match=message):
        load_detection_file(written(tmp_path, name, text))


def test_missing_and_binary_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing.csv: cannot be read"):
        load_detection_file(tmp_path / "nothing.csv")
    (tmp_path / "d.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        load_detection_file(tmp_path / "d.csv")


def official_folder(folder):
    written(folder, "Diving_test.txt", "video_test_0000002  1.0 2.0\nvideo_test_0000001 3 4\n")
    written(folder, "Billiards_test.txt", "video_test_0000002 1.5 2.5\n")
    written(folder, "Billiards_val.txt", "video_validation_0000001 1.5 2.5\n")
    written(folder, "Ambiguous_test.txt", "video_test_0000003 5 6\nvideo_test_0000002 7 8\n")
    written(folder, "detclasslist.txt", "12 Billiards\r\n26 Diving\r\n")
    return folder


def test_official_folder(tmp_path):
    annotations = load_truth(official_folder(tmp_path))
    assert annotations.classes == ("Billiards", "Diving")
    assert {name: video.subset for name, video in annotations.videos.items()} == {
        "video_test_0000001": "test",
        "video_test_0000002": "test",
        "video_test_0000003": "test",
        "video_validation_0000001": "validation",
    }
    second = annotations.videos["video_test_0000002"]
    assert sorted(second.instances) == [
        Instance(1.0, 2.0, "Diving"),
        Instance(1.5, 2.5, "Billiards"),
    ]
    assert second.ambiguous == ((7.0, 8.0),)
    assert annotations.videos["video_test_0000003"].instances == ()


def test_official_files_in_small_letters(tmp_path):
    """As a class, `ambiguous` would have an AP of 0."""
    written(official_folder(tmp_path), "ambiguous_val.txt", "video_validation_0000001 5 6\n")
    annotations = load_truth(tmp_path)
    assert annotations.classes == ("Billiards", "Diving")
    assert annotations.videos["video_validation_0000001"].ambiguous == ((5.0, 6.0),)


def test_official_folder_errors(tmp_path):
    with pytest.raises(UserError, match="holds no class file"):
        load_official(tmp_path)
    written(tmp_path, "Diving_test.txt", "a 1\n")
    with pytest.raises(UserError, match=r"Diving_test.txt line 1: has 2 fields"):
        load_official(tmp_path)
    written(tmp_path, "Diving_test.txt", "a 1 2\n")
    written(tmp_path, "Diving_val.txt", "a 1 2\n")
    with pytest.raises(UserError, match=r"video 'a' is in another subset too"):
        load_official(tmp_path)


def test_digest_of_file_and_folder(tmp_path):
    path = written(tmp_path, "b.txt", "b")
    of_b = hashlib.sha256(b"b").hexdigest()
    assert digest(path) == of_b
    written(tmp_path, "a.txt", "a")
    listing = f"{hashlib.sha256(b'a').hexdigest()}  a.txt\n{of_b}  b.txt\n"
    assert digest(tmp_path) == hashlib.sha256(listing.encode()).hexdigest()
    with pytest.raises(UserError, match="cannot be read"):
        digest(tmp_path / "c")


def test_both_forms_of_an_id_in_text_files_are_one_video(tmp_path):
    (tmp_path / "Diving_test.txt").write_text("Plonge\u0301e 1 2\n", "utf-8")
    (tmp_path / "Jump_test.txt").write_text("Plong\u00e9e 3 4\n", "utf-8")
    (video,) = load_official(tmp_path).videos.values()
    assert video.labels == ("Diving", "Jump")

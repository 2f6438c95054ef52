"""The features' folder: what counts as finished, and what is refused."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

from cpmn_tf.encoding.encode import EncodedVideo
from cpmn_tf.encoding.outputs import FeatureFolder
from cpmn_tf.errors import UserError

DESCRIPTION = {
    "streams": {"rgb": {"name": "x"}, "flow": {"name": "y"}},
    "unit_frames": 5,
    "fps": None,
    "flow": {"method": "dis"},
    "crops": 1,
    "opencv": "4",
}


def video(key: str, units: int = 3) -> EncodedVideo:
    features = {name: np.full((units, 2), units, np.float32) for name in ("rgb", "flow")}
    return EncodedVideo(key, 30000 / 1001, 0.1234567891, 5 * units, 0, 0, (), features)


def test_a_video_is_finished_with_its_line_and_all_its_files(tmp_path):
    folder = FeatureFolder(tmp_path / "out", DESCRIPTION)
    for key in ("a", 'b, "c"'):
        assert not folder.finished(key)
        folder.add(video(key))
        assert folder.finished(key)
    again = FeatureFolder(tmp_path / "out", DESCRIPTION)
    assert again.finished("a") and again.finished('b, "c"')
    assert (tmp_path / "out" / "videos.csv").read_text() == (
        "video,fps,duration,frames\n"
        "a,29.97002997002997,0.123457,15\n"
        '"b, ""c""",29.97002997002997,0.123457,15\n'
    )
    stored = np.load(tmp_path / "out/features/rgb/a.npy")
    assert stored.dtype == np.float32 and stored.shape == (3, 2)
    (tmp_path / "out/features/flow/a.npy").unlink()
    assert not again.finished("a")
    again.add(video("a", 4))  # its line is replaced
    assert (tmp_path / "out" / "videos.csv").read_text().count("\na,") == 1


def test_many_processes_write_into_one_folder(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
from test_outputs import DESCRIPTION, FeatureFolder, video
folder = FeatureFolder(sys.argv[1], DESCRIPTION)
print("open", flush=True)
sys.stdin.readline()  # all are open before the first writes
for number in range(20):
    folder.add(video(f"{{sys.argv[2]}}-{{number}}"))
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], **pipes)
        for name in "ab"
    ]
    for child in started:
        assert child.stdout.readline() == "open\n"
    for child in started:
        child.stdin.write("\n")
        child.stdin.flush()
    assert [child.wait() for child in started] == [0, 0]
    folder = FeatureFolder(tmp_path, DESCRIPTION)
    assert all(folder.finished(f"{name}-{number}") for name in "ab" for number in range(20))


def test_features_without_a_line_are_not_finished(tmp_path):
    folder = FeatureFolder(tmp_path, DESCRIPTION)
    folder.add(video("a"))
    (tmp_path / "videos.csv").unlink()
    assert not FeatureFolder(tmp_path, DESCRIPTION).finished("a")


def test_features_made_otherwise_are_refused_by_field(tmp_path):
    FeatureFolder(tmp_path, DESCRIPTION)
    other = json.loads(json.dumps(DESCRIPTION))
    other["streams"]["flow"]["name"] = "z"
    with pytest.raises(UserError) as error:
        FeatureFolder(tmp_path, other)
    assert str(error.value) == (
        f"{tmp_path / 'encoder.json'}: the features here were made with streams.flow.name='y', "
        "not 'z'; give the same, or another `output_dir`"
    )
    FeatureFolder(tmp_path, {**DESCRIPTION, "opencv": "5"})  # told, and not refused

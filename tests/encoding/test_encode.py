"""Whole runs over several videos: batches across them, failures, and runs that are killed."""

import json
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

from cpmn_tf.encoding.encode import EncodingSettings, ahead, encode, encode_videos
from cpmn_tf.encoding.flow import open_flow
from cpmn_tf.encoding.units import cropped
from cpmn_tf.errors import UserError

LENGTHS = {"a": 23, "-b ü": 7, "c": 41}  # 4, 1 and 8 units of 5 frames


@pytest.fixture
def clips(video_writer, tmp_path) -> dict:
    """Three videos of noise that drifts."""
    paths = {}
    for key, frames in LENGTHS.items():
        rng = np.random.default_rng(frames)
        noise = np.repeat(np.repeat(rng.integers(0, 255, (10, 20, 3), np.uint8), 6, 0), 6, 1)
        images = [np.roll(noise, k, 1) for k in range(frames)]
        paths[key] = video_writer(tmp_path / f"{key}.mkv", images, fps=25)
    return paths


@pytest.fixture
def streams(mean_color) -> dict:
    return {"rgb": mean_color(28, 3), "flow": mean_color(28, 10)}


def files(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_features_against_all_frames_at_once(clips, streams):
    import av
    import cv2

    (video,) = encode({"c": clips["c"]}, streams, EncodingSettings(unit_frames=5))
    with av.open(str(clips["c"])) as file:
        frames = list(file.decode(video=0))
    # 60 pixels high, 120 wide: 32 and 64.
    rgb = [cv2.resize(frame.to_ndarray(format="rgb24"), (64, 32)) for frame in frames]
    grey = [cv2.resize(frame.to_ndarray(format="gray"), (64, 32)) for frame in frames]
    compute = open_flow("dis")
    for unit in range(8):
        centre = 5 * unit + 2
        expected = rgb[centre][2:30, 18:46].mean((0, 1))
        np.testing.assert_allclose(video.features["rgb"][unit], expected, rtol=1e-5)
        pairs = [compute(grey[k], grey[k + 1]) for k in range(centre - 2, centre + 3)]
        expected = np.concatenate(pairs, -1)[2:30, 18:46].mean((0, 1))
        np.testing.assert_allclose(video.features["flow"][unit], expected, rtol=1e-5)
    assert (video.fps, video.duration, video.frames) == (25.0, 1.64, 41)
    assert video.notes == ("the last 1 frames are no whole unit",)


@pytest.mark.parametrize("batch_size", [1, 4, 5, 100])
def test_batches_are_filled_across_videos(clips, mean_color, batch_size):
    streams = {"rgb": mean_color(28, 3)}
    settings = EncodingSettings(unit_frames=5)
    videos = list(encode(clips, streams, settings, batch_size=batch_size))
    whole, rest = divmod(13, batch_size)
    assert streams["rgb"].given == [batch_size] * whole + [rest] * (rest > 0)
    assert [(v.id, len(v.features["rgb"])) for v in videos] == [("a", 4), ("-b ü", 1), ("c", 8)]
    for video in videos:
        (alone,) = encode({video.id: clips[video.id]}, streams, settings)
        np.testing.assert_array_equal(video.features["rgb"], alone.features["rgb"])


def test_ten_crops_are_averaged(clips, streams):
    (video,) = encode({"b": clips["-b ü"]}, streams, EncodingSettings(unit_frames=5, crops=10))
    from cpmn_tf.encoding.decoding import VideoFile

    with VideoFile(clips["-b ü"]) as file:
        image = file.rgb(list(file.ticks())[2], 32)
    expected = cropped(image, 28, 10, False).mean((0, 1, 2))
    np.testing.assert_allclose(video.features["rgb"], [expected], rtol=1e-5)
    assert streams["rgb"].given == [10]


def test_units_of_a_flash_at_constant_and_variable_rate(video_writer, mean_color, tmp_path):
    """White from 1.5 s to 1.6 s: unit 7 of 0.2 s, [1.4, 1.6), whose centre is shown at 1.5 s."""
    constant = [np.full((32, 48), 255 * (30 <= k < 32), np.uint8) for k in range(60)]
    chosen = [0, 7, 8, 29, 30, 31, 32, 50, 59]
    gray = {"pix_fmt": "gray", "fps": 20}
    stamps = [50 * k for k in chosen]
    paths = {
        "constant": video_writer(tmp_path / "constant.mkv", constant, **gray),
        "variable": video_writer(
            tmp_path / "variable.mkv", [constant[k] for k in chosen], stamps=stamps, **gray
        ),
    }
    streams = {"rgb": mean_color(28, 3), "flow": mean_color(28, 4)}
    one, other = encode(paths, streams, EncodingSettings(unit_frames=4, fps=20))
    assert np.flatnonzero(one.features["rgb"][:, 0]).tolist() == [7]
    for name in streams:
        np.testing.assert_array_equal(one.features[name], other.features[name])
    assert (one.repeated, one.skipped) == (0, 0) and other.repeated == other.frames - 9


def test_failures_do_not_stop_the_others(clips, streams, tmp_path):
    short = clips["-b ü"]
    (tmp_path / "no video.mp4").write_text("text")
    lines = []
    done = encode_videos(
        [clips["a"], tmp_path / "no video.mp4", short, clips["c"]],
        output_dir=tmp_path / "out",
        streams=streams,
        settings=EncodingSettings(unit_frames=8),
        report=lines.append,
    )
    assert (done.encoded, done.finished, list(done.failed)) == (
        ["a", "c"],
        [],
        ["no video", "-b ü"],
    )
    assert done.failed["-b ü"] == (
        f"{short}: has 7 frames at 25 per second, fewer than a unit's 8; leave it out, or give a "
        "larger `fps`"
    )
    assert len(lines) == 4 and all("\n" not in line for line in lines)
    assert "a: 2 units, 23 frames at 25 per second, 0.920 s; 0 repeated, 0 skipped" in lines[2]
    assert np.load(tmp_path / "out/features/flow/c.npy").shape == (5, 10)


def test_one_video_or_an_error(clips, streams, tmp_path):
    with pytest.raises(UserError, match="No such file"):
        list(encode({"x": tmp_path / "x.mp4"}, streams, EncodingSettings(unit_frames=5)))


class Killed(Exception):
    """Ends a run where the network is."""


def test_a_run_that_ends_early_is_gone_on_with(clips, streams, mean_color, tmp_path):
    out = tmp_path / "out"
    given = {"output_dir": out, "settings": EncodingSettings(unit_frames=5), "batch_size": 2}

    class Breaks(mean_color):
        def __call__(self, images):
            if len(self.given) == 4:
                raise Killed
            return super().__call__(images)

    with pytest.raises(Killed):
        encode_videos(clips.values(), streams={**streams, "rgb": Breaks()}, **given)
    assert not [thread for thread in threading.enumerate() if thread.name == "decoding"]
    assert files(out / "features") == [
        *("flow", "flow/-b ü.npy", "flow/a.npy", "rgb", "rgb/-b ü.npy", "rgb/a.npy")
    ]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    done = encode_videos(clips.values(), streams=streams, **given)
    assert (done.encoded, done.finished) == (["c"], ["a", "-b ü"])
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    whole = tmp_path / "whole"
    encode_videos(clips.values(), streams=streams, **{**given, "output_dir": whole})
    assert files(whole) == files(out)
    for path in whole.rglob("*.*"):
        assert path.read_bytes() == (out / path.relative_to(whole)).read_bytes()
    count = len(streams["rgb"].given)
    assert encode_videos(clips.values(), streams=streams, **given).encoded == []
    assert len(streams["rgb"].given) == count


KILLED = """
import os, signal, sys
import numpy as np
from cpmn_tf.encoding.encode import EncodingSettings, encode_videos
class Net:
    size, channels, width = 28, 3, 3
    def __call__(self, images): return images.mean((1, 2), dtype=np.float32)
    def describe(self): return {"name": "mean color", "size": 28, "channels": 3}
rename, renamed = os.replace, []
def replace(old, new):
    if str(new).endswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    rename(old, new)
os.replace = replace
encode_videos(sys.argv[3:], output_dir=sys.argv[1], streams={"rgb": Net()},
              settings=EncodingSettings(unit_frames=5))
"""


@pytest.mark.parametrize("at", ["c.npy", "videos.csv", "encoder.json"])
def test_a_killed_run_leaves_nothing_half_written(clips, mean_color, tmp_path, at):
    out, paths = tmp_path / "out", list(map(str, clips.values()))
    child = subprocess.run([sys.executable, "-c", KILLED, str(out), at, *paths], check=False)
    assert child.returncode == -signal.SIGKILL
    for path in out.glob("features/rgb/*.npy"):
        assert len(np.load(path)) == LENGTHS[path.stem] // 5
    streams = {"rgb": mean_color(28, 3)}
    done = encode_videos(
        paths, output_dir=out, streams=streams, settings=EncodingSettings(unit_frames=5)
    )
    assert len(done.encoded) + len(done.finished) == 3 and not done.failed
    lines = (out / "videos.csv").read_text().splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == list(LENGTHS)
    from tfrecords_tools.reading.feature_folders import FeatureFolders

    problems = []
    known = {"ids": LENGTHS, "subsets": [], "problem": lambda *found: problems.append(found)}
    folders = FeatureFolders(out / "features", **known)
    assert folders.present() == set(LENGTHS) and not problems


def test_shards_fill_one_folder(clips, mean_color, tmp_path):
    streams, settings = {"rgb": mean_color(28, 3)}, EncodingSettings(unit_frames=5)
    given = {"output_dir": tmp_path / "out", "streams": streams, "settings": settings}
    assert encode_videos(clips.values(), shard="2/2", **given).encoded == ["-b ü"]
    assert encode_videos(clips.values(), shard="1/2", **given).encoded == ["a", "c"]
    assert encode_videos(clips.values(), **given).finished == ["a", "-b ü", "c"]


def test_other_settings_are_refused(clips, streams, tmp_path):
    given = {"output_dir": tmp_path / "out", "streams": streams}
    encode_videos([clips["a"]], settings=EncodingSettings(unit_frames=5), **given)
    known = json.loads((tmp_path / "out/encoder.json").read_text())
    assert known["flow"] == {"method": "dis", "frames": {"flow": 5}, "bound": 20.0}
    assert known["short_side"] == {"rgb": 32, "flow": 32}
    for change, field in (
        ({"unit_frames": 6}, "unit_frames=5, not 6"),
        ({"fps": 10.0}, "fps=None, not 10.0"),
        ({"flow": "tvl1"}, "flow.method='dis', not 'tvl1'"),
        ({"crops": 10}, "crops=1, not 10"),
    ):
        with pytest.raises(UserError, match=field.replace(".", r"\.")):
            settings = EncodingSettings(**{"unit_frames": 5, **change})
            encode_videos([clips["a"]], settings=settings, **given)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"unit_frames": 0}, "`unit_frames` is 0"),
        ({"fps": -1.0}, "`fps` is -1.0"),
        ({"flow": "farneback"}, "`flow` is 'farneback'; give one of dis, tvl1"),
        ({"crops": 5}, "`crops` is 5; give one of 1, 10"),
    ],
)
def test_settings_out_of_range(change, expected):
    with pytest.raises(UserError) as error:
        EncodingSettings(**{"unit_frames": 5, **change})
    assert str(error.value).startswith(expected)


def test_work_ahead_is_bounded_and_its_errors_arrive():
    made = []

    def numbers():
        for number in range(10):
            made.append(number)
            yield number
        raise Killed

    taken = []
    with pytest.raises(Killed), ahead(numbers(), 3) as items:
        for number in items:
            assert len(made) <= len(taken) + 1 + 3 + 1  # taken, in the queue, and in work
            taken.append(number)
    assert taken == list(range(10))
    with ahead(iter(range(10**9)), 2) as items:  # left early
        assert next(items) == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "decoding"]


def test_real_clips(real_videos, streams, tmp_path):
    done = encode_videos(
        [real_videos],
        output_dir=tmp_path,
        streams=streams,
        settings=EncodingSettings(unit_frames=16),
    )
    assert done.encoded == ["demo", "test"]
    # 280 frames at 28 per second are 17 units of 16, 164 at 25 are 10.
    assert np.load(tmp_path / "features/rgb/demo.npy").shape == (17, 3)
    assert np.load(tmp_path / "features/flow/test.npy").shape == (10, 10)
    assert (tmp_path / "videos.csv").read_text() == (
        "video,fps,duration,frames\ndemo,28.0,10.0,280\ntest,25.0,6.56,164\n"
    )


def test_memory_holds_no_more_frames_of_a_longer_video(video_writer, mean_color, tmp_path):
    """Arrays alive while a network runs, in a video of 60 and in one of 600 frames."""
    import tracemalloc

    peaks = []
    for frames in (60, 600):
        images = [np.full((64, 96), number % 250, np.uint8) for number in range(frames)]
        path = video_writer(tmp_path / f"{frames}.mkv", images, pix_fmt="gray")
        streams = {"rgb": mean_color(56, 3), "flow": mean_color(56, 10)}
        tracemalloc.start()
        list(encode({"a": path}, streams, EncodingSettings(unit_frames=5), batch_size=2))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 300_000  # 540 more frames of 64·96 bytes are 3.3 MB

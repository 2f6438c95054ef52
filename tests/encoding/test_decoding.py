"""Frames by their time stamps, of videos that are written here and of two real ones."""

import fractions

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

import av

from cpmn_tf.encoding.decoding import VideoFile
from cpmn_tf.errors import UserError


def numbered(count: int, height: int = 16, width: int = 24) -> list[np.ndarray]:
    """Pictures of one grey each: its number."""
    return [np.full((height, width), number, np.uint8) for number in range(count)]


def read(path, fps=None, side=16) -> tuple[list[int], VideoFile]:
    """The numbers of the frames that the ticks show, and the file read to its end."""
    with VideoFile(path, fps=fps) as video:
        numbers = [round(video.grey(frame, side).mean()) for frame in video.ticks()]
    assert len(numbers) == video.count
    return numbers, video


@pytest.fixture
def grey(video_writer):
    """Writes grey pictures, without loss."""
    return lambda path, images, **more: video_writer(path, images, pix_fmt="gray", **more)


def test_a_constant_rate_gives_every_frame_once(grey, tmp_path):
    numbers, video = read(grey(tmp_path / "clip.mkv", numbered(23)))
    assert numbers == list(range(23))
    assert (video.fps, video.duration) == (10, fractions.Fraction(23, 10))
    assert (video.repeated, video.skipped, video.notes()) == (0, 0, [])


@pytest.mark.parametrize("fps", [3, 5, 10, 12.5, 20, 25, 240])
def test_ticks_of_a_variable_rate_against_numpy(grey, tmp_path, fps):
    stamps = np.cumsum(np.random.default_rng(0).integers(1, 300, 40)) + 5000
    numbers, video = read(grey(tmp_path / "clip.mkv", numbered(40), stamps=stamps), fps)
    ticks = [1000 * k / fractions.Fraction(fps) for k in range(100 + 1000 * video.duration // 1)]
    ticks = [tick + 1 for tick in ticks if tick + 1 < 1000 * video.duration]  # a stamp's rounding
    expected = [max(i for i in range(40) if stamps[i] - stamps[0] <= tick) for tick in ticks]
    assert numbers == expected
    assert video.repeated == sum(np.diff(expected) == 0)
    assert video.skipped == 40 - len(set(expected))
    assert 1000 * video.duration >= stamps[-1] - stamps[0]


def test_a_flash_at_the_same_tick_at_any_rate(grey, tmp_path):
    """Dark but for the tenth of a second from 1.5 s on; 3 s long."""
    constant = [np.full((16, 24), 255 * (30 <= k < 32), np.uint8) for k in range(60)]
    chosen = [0, 7, 8, 29, 30, 31, 32, 50, 59]
    variable = [constant[k] for k in chosen]
    one = read(grey(tmp_path / "constant.mkv", constant, fps=20), 20)[0]
    other = read(grey(tmp_path / "variable.mkv", variable, stamps=[50 * k for k in chosen]), 20)[0]
    assert [k for k, value in enumerate(one) if value] == [30, 31]
    assert other[:60] == one and len(other) - 60 <= 1  # the last picture's own length is not stored


@pytest.mark.parametrize("rate", ["30000/1001", "24000/1001", "60", "1", "240"])
def test_stamps_in_milliseconds_repeat_and_skip_nothing(grey, tmp_path, rate):
    fps = fractions.Fraction(rate)
    numbers, video = read(grey(tmp_path / "clip.mkv", numbered(250), fps=fps))
    assert numbers == list(range(250))
    assert float(video.fps) == pytest.approx(float(fps), rel=1e-4)
    assert float(video.duration) == pytest.approx(250 / fps, abs=2e-3)


def test_single_stamps_that_are_wrong_move_the_others_by_a_frame_at_most(grey, tmp_path):
    with av.open(str(tmp_path / "clip.mkv"), "w") as file:
        stream = file.add_stream("ffv1", rate=10, width=24, height=16, pix_fmt="gray")
        for number, image in enumerate(numbered(40)):
            frame = av.VideoFrame.from_ndarray(image, format="gray")
            for packet in stream.encode(frame):
                packet.time_base = fractions.Fraction(1, 1000)
                packet.dts = number  # muxers look at these, Matroska stores the others
                packet.pts = 2450 if number == 10 else 100 * number  # 1.45 s too late
                file.mux(packet)
    numbers, video = read(tmp_path / "clip.mkv", 10)
    assert video.count in (40, 41) and not video.notes()
    assert max(abs(number - tick) for tick, number in enumerate(numbers)) <= 1


def test_a_clock_that_is_reset(grey, tmp_path):
    stamps = [0, 100, 200, 300, 5_000_000, 5_000_100, 5_000_200, 5_000_300]
    numbers, video = read(grey(tmp_path / "clip.mkv", numbered(8), stamps=stamps), 10)
    assert numbers[:7] == [0, 1, 2, 3, 4, 5, 6] and video.count < 20
    assert "time stamps jump 1 times, passed over" in video.notes()


def test_frames_without_stamps_are_placed_by_the_rate(video_writer, tmp_path):
    images = [np.full((64, 64), 20 * k, np.uint8) for k in range(11)]
    options = {"x264-params": "bframes=0", "qp": "0"}
    more = {"codec": "libx264", "pix_fmt": "yuv420p", "format": "h264", "options": options}
    path = video_writer(tmp_path / "clip.h264", images, fps=25, **more)
    numbers, video = read(path)
    assert np.abs(np.array(numbers) - 20 * np.arange(11)).max() <= 3
    assert video.duration == fractions.Fraction(11, 25)
    assert "11 frames without time stamps, placed by the rate" in video.notes()


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_turned_as_the_file_says(video_writer, tmp_path, rotation):
    image = np.zeros((32, 64, 3), np.uint8)
    image[:16, :32], image[16:, 32:] = (250, 0, 0), (0, 0, 250)
    codec = {"codec": "libx264", "pix_fmt": "yuv444p", "options": {"qp": "0"}}
    path = video_writer(tmp_path / "clip.mp4", [image] * 3, rotation=rotation, **codec)
    with VideoFile(path) as video:
        shown = [video.rgb(frame, 32) for frame in video.ticks()]
    # Rotation counts counter-clockwise, as NumPy does.
    expected = np.rot90(image, rotation // 90)
    assert shown[0].shape == expected.shape
    assert np.abs(shown[0].astype(int) - expected).mean() < 4
    assert video.notes() == [f"turned by {rotation % 360}°, as the file says"]


@pytest.mark.parametrize(
    "codec, pix_fmt, ending",
    [
        ("ffv1", "bgr0", "mkv"),
        ("ffv1", "bgra", "mkv"),
        ("ffv1", "gray", "mkv"),
        ("ffv1", "gray10le", "mkv"),
        ("ffv1", "yuv420p10le", "mkv"),
        ("ffv1", "yuva420p", "mkv"),
        ("qtrle", "argb", "mov"),
        ("libvpx-vp9", "yuva420p", "webm"),
        ("libx264", "yuv420p10le", "mp4"),
        ("mjpeg", "yuvj420p", "avi"),
    ],
)
def test_every_form_of_pixels_and_odd_sizes(video_writer, tmp_path, codec, pix_fmt, ending):
    size = (17, 33) if codec in ("ffv1", "qtrle", "mjpeg") else (64, 96)
    images = [np.full((*size, 3), 40 * k + 30, np.uint8) for k in range(5)]
    path = video_writer(tmp_path / f"clip.{ending}", images, codec=codec, pix_fmt=pix_fmt)
    with VideoFile(path) as video:
        shown = [(video.rgb(f, 34), video.grey(f, 34)) for f in video.ticks()]
    wide = round(size[1] * 34 / size[0])
    assert [rgb.shape for rgb, _ in shown] == [(34, wide, 3)] * 5
    assert [grey.shape for _, grey in shown] == [(34, wide)] * 5
    for k, (rgb, grey) in enumerate(shown):
        assert np.abs(rgb.mean((0, 1)) - (40 * k + 30)).max() < 4
        assert abs(grey.mean() - (40 * k + 30)) < 4


def combed(image: np.ndarray) -> int:
    """Columns in which most lines differ strongly from the next."""
    return ((np.abs(np.diff(image[8:-8].astype(int), axis=0)) > 60).mean(0) > 0.5).sum()


def test_interlaced_frames_lose_their_combs(video_writer, tmp_path):
    """A bar that moves by 8 pixels from field to field: even lines show it where it was before."""
    images = [np.zeros((64, 256), np.uint8) for _ in range(12)]
    for k, image in enumerate(images):
        for field in (0, 1):
            place = 16 * k + 8 * field
            image[field::2, place : place + 24] = 220
    options = {"x264-params": "tff=1", "qp": "1"}
    codec = {"codec": "libx264", "pix_fmt": "yuv420p", "options": options}
    path = video_writer(tmp_path / "clip.mp4", images, **codec)
    with av.open(str(path)) as file:
        assert all(frame.interlaced_frame for frame in file.decode(video=0))
    with VideoFile(path) as video:
        combs = [combed(video.grey(frame, 64)) for frame in video.ticks()]
    assert video.count == 12 and combed(images[5]) == 16 and max(combs[1:-1]) <= 4
    assert "12 interlaced frames, deinterlaced" in video.notes()


def blank(path, numbers) -> None:
    """Overwrites packets with zeros."""
    with av.open(str(path)) as file:
        places = [(packet.pos, packet.size) for packet in file.demux() if packet.size]
    data = bytearray(path.read_bytes())
    for start, size in [places[number] for number in numbers]:
        start = data.index(b"\xff\xd8", start)  # of a JPEG
        data[start : start + size] = bytes(size)
    path.write_bytes(data)


def test_a_broken_frame_in_the_middle(video_writer, tmp_path):
    images = [np.full((32, 32), 20 * k, np.uint8) for k in range(12)]
    path = video_writer(tmp_path / "clip.avi", images, codec="mjpeg", pix_fmt="yuvj420p")
    blank(path, [5])
    numbers, video = read(path)
    assert [round(value / 20) for value in numbers] == [0, 1, 2, 3, 4, 4, 6, 7, 8, 9, 10, 11]
    assert (video.count, video.repeated) == (12, 1)
    assert "1 broken frames or packets left out" in video.notes()


def test_a_video_without_a_sound_frame(video_writer, tmp_path):
    """All frames of the stream are broken: the header alone is a video."""
    images = [np.full((32, 32), 20 * k, np.uint8) for k in range(3)]
    path = video_writer(tmp_path / "clip.avi", images, codec="mjpeg", pix_fmt="yuvj420p")
    blank(path, [0, 1, 2])
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value) == f"{path}: no frame can be decoded; check the file"


@pytest.mark.parametrize("ending, options", [("mkv", {}), ("mp4", {"movflags": "faststart"})])
def test_a_truncated_file_gives_what_there_is(video_writer, tmp_path, ending, options):
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 255, (40, 48, 64, 3), np.uint8))
    codec = {"codec": "libx264", "pix_fmt": "yuv420p", "options": {"g": "5"}}
    path = video_writer(tmp_path / f"clip.{ending}", images, **codec, container_options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    _, video = read(path)
    assert 15 < video.count < 30
    assert "s less than its header says: truncated or broken" in video.notes()[-1]


def test_an_unknown_codec_is_refused(grey, tmp_path):
    path = grey(tmp_path / "clip.avi", numbered(3))
    path.write_bytes(path.read_bytes().replace(b"FFV1", b"QQQ1"))
    with pytest.raises(UserError, match=r"clip\.avi: is in a format that FFmpeg cannot decode"):
        VideoFile(path)


def write_audio(path) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        frame.rate = 8000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def test_what_is_no_video_is_refused_by_name(tmp_path):
    write_audio(tmp_path / "sound.wav")
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    (tmp_path / "empty.mp4").write_bytes(b"")
    expected = {
        "sound.wav": "holds no video",
        "text.mp4": "cannot be read as a video",
        "empty.mp4": "cannot be read as a video",
        "gone.mp4": "cannot be read as a video (No such file",
    }
    for name, text in expected.items():
        with pytest.raises(UserError) as error:
            VideoFile(tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name}: {text}")
        assert "\n" not in str(error.value)


def test_names_that_read_like_something_else(grey, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("12:30.mkv", "-y clip.mkv", "Plongée 動画 %d.mkv", "http:a.mkv"):
        grey(tmp_path / name, numbered(3))
        assert read(name)[0] == [0, 1, 2]


@pytest.mark.parametrize(
    "name, fps, frames, duration", [("demo.mp4", 28, 280, 10.0), ("test.avi", 25, 164, 6.56)]
)
def test_real_clips(real_videos, name, fps, frames, duration):
    """The AVI stamps its B-frames as they are stored, not as they are shown."""
    with av.open(str(real_videos / name)) as file:
        stream = file.streams.video[0]
        assert (stream.average_rate, stream.frames) == (fps, frames)
        whole = [frame.to_ndarray(format="gray").mean() for frame in file.decode(stream)]
    with VideoFile(real_videos / name) as video:
        shown = [frame.to_ndarray(format="gray").mean() for frame in video.ticks()]
    assert shown == whole and len(shown) == frames
    assert (video.fps, float(video.duration)) == (fps, duration)
    assert (video.repeated, video.skipped, video.notes()) == (0, 0, [])

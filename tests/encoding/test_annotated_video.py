"""A video's annotated copy: as many frames, and bars where the detections are."""

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

import av

from cpmn_tf.encoding.annotated_video import save_annotated_video
from cpmn_tf.encoding.decoding import VideoFile
from cpmn_tf.errors import UserError

BLUE, ORANGE, GROUND = (0x4C, 0x9B, 0xE8), (0xF0, 0x8A, 0x3C), (0x16, 0x16, 0x16)
FOUND = [("Jump", 1.0, 2.0, 0.9), ("Dive", 3.0, 3.5, 0.4), ("Jump", 3.0, 4.0, 0.2)]
ABOUT = {"fps": 10.0, "duration": 4.0}
# Pixels: a line of the band, what is below its last one, and where bars begin at a width of 320.
ROW, FOOT, LEFT = 18, 12, 106


@pytest.fixture(scope="module")
def clip(video_writer, tmp_path_factory):
    """40 pictures of 160x90 at 10 per second, each of one brightness."""
    images = [np.full((90, 160, 3), 5 * k, np.uint8) for k in range(40)]
    return video_writer(tmp_path_factory.mktemp("clip") / "clip.mkv", images)


def read(path) -> tuple[list[np.ndarray], list[float]]:
    """The pictures, [height, width, 3] uint8, and their times in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.to_ndarray(format="rgb24") for frame in frames], [frame.time for frame in frames]


@pytest.fixture(scope="module")
def copy(clip, tmp_path_factory):
    path = tmp_path_factory.mktemp("copy") / "out.mp4"
    save_annotated_video(path, clip, FOUND, **ABOUT)
    return read(path)


def test_every_frame_is_there_at_its_time(copy):
    images, times = copy
    assert len(images) == 40
    np.testing.assert_allclose(times, np.arange(40) / 10, atol=1e-6)
    # Twice as large, for the text's sake, and below it three lines: what is now, and two classes.
    assert {image.shape for image in images} == {(180 + 3 * ROW + FOOT, 320, 3)}
    brightness = [image[:180].mean() for image in images]
    np.testing.assert_allclose(brightness, 5 * np.arange(40), atol=3)


def x_of(seconds: float) -> int:
    """320 pixels less the names and 6 at the end are four seconds."""
    return round(LEFT + (320 - LEFT - 6) * seconds / 4)


@pytest.mark.parametrize(
    "row, seconds, colour",
    [
        (1, 1.5, BLUE),
        (1, 0.8, GROUND),
        (1, 2.2, GROUND),
        (1, 3.5, BLUE),
        (2, 1.5, GROUND),
        (2, 3.25, ORANGE),
        (2, 3.7, GROUND),
    ],
)
def test_bars_are_where_the_detections_are(copy, row, seconds, colour):
    """The class of the best detection is in the first row; the mark of the time is elsewhere."""
    image = copy[0][0]
    place = image[180 + row * ROW + 7 : 180 + row * ROW + 10, x_of(seconds) - 1 : x_of(seconds) + 2]
    np.testing.assert_allclose(place.mean((0, 1)), colour, atol=12)


@pytest.mark.parametrize("tick", [0, 8, 24, 38])
def test_the_mark_is_at_the_present_time(copy, tick):
    line = copy[0][tick][180 + 3 * ROW + 2 : 180 + 3 * ROW + 5].mean((0, 2))  # below the rows
    assert abs(int(line[LEFT:].argmax()) + LEFT - x_of(tick / 10)) <= 1


def test_what_is_now_is_named(copy):
    """More of the first line is bright while a detection lasts, and most while two do."""
    images, _ = copy
    text = [(image[180 : 180 + ROW - 2].mean(2) > 120).sum() for image in images]
    one, two, none = text[15], text[32], text[25]
    assert none < one < two
    assert max(abs(text[k] - none) for k in (5, 9, 20, 29)) < (one - none) / 2  # [start, end)
    assert min(text[k] for k in (10, 19)) > (one + none) / 2


@pytest.mark.parametrize("height, width", [(45, 81), (201, 401), (90, 30)])
def test_odd_sizes_become_even(video_writer, tmp_path, height, width):
    images = [np.full((height, width, 3), 99, np.uint8)] * 3
    path = video_writer(tmp_path / "odd.mkv", images)
    save_annotated_video(tmp_path / "out.mkv", path, [], fps=10.0, duration=0.3)
    shapes = {image.shape for image in read(tmp_path / "out.mkv")[0]}
    ((tall, wide, _),) = shapes
    assert tall % 2 == wide % 2 == 0 and wide >= 320 and len(read(tmp_path / "out.mkv")[0]) == 3
    assert wide / (tall - ROW - FOOT) == pytest.approx(width / height, rel=0.02)


def test_a_turned_video_is_upright_and_wide_enough(video_writer, tmp_path):
    images = [np.full((60, 120, 3), 99, np.uint8)] * 3
    path = video_writer(tmp_path / "a.mp4", images, codec="mpeg4", pix_fmt="yuv420p", rotation=90)
    save_annotated_video(tmp_path / "out.mp4", path, [], fps=10.0, duration=0.3)
    assert read(tmp_path / "out.mp4")[0][0].shape == (640 + ROW + FOOT, 320, 3)


def test_more_classes_than_rows(clip, tmp_path):
    found = [(f"class {k}, of a very long name " * 3, 0.0, 4.0, k / 10) for k in range(9)]
    save_annotated_video(tmp_path / "out.mp4", clip, found, **ABOUT)
    assert read(tmp_path / "out.mp4")[0][0].shape[0] == 180 + 7 * ROW + FOOT


@pytest.mark.parametrize("name", ["out.txt", "out", "out.png", "out.webm", "out.gif"])
def test_another_suffix_is_refused_and_leaves_nothing(clip, tmp_path, name):
    with pytest.raises(UserError) as error:
        save_annotated_video(tmp_path / name, clip, FOUND, **ABOUT)
    text = str(error.value)
    assert text.startswith(f"{tmp_path / name}: cannot be written as H.264 in ")
    assert text.endswith("; call it .mp4") and "\n" not in text
    assert list(tmp_path.iterdir()) == []


def test_a_broken_source_is_named_and_an_earlier_copy_stays(tmp_path):
    source, path = tmp_path / "source.mp4", tmp_path / "out.mp4"
    source.write_text("no video")
    path.write_text("of before")
    with pytest.raises(UserError, match=r"source\.mp4: cannot be read as a video"):
        save_annotated_video(path, source, FOUND, **ABOUT)
    assert path.read_text() == "of before" and len(list(tmp_path.iterdir())) == 2


def test_nothing_is_half_written(clip, tmp_path, monkeypatch):
    """The source's frames end with an error after the file was begun."""

    def ticks(self):
        for number, frame in enumerate(whole(self)):
            if number == 20:
                raise UserError("clip.mkv: no frame can be decoded; check the file")
            yield frame

    whole = VideoFile.ticks
    monkeypatch.setattr(VideoFile, "ticks", ticks)
    with pytest.raises(UserError) as error:
        save_annotated_video(tmp_path / "out.mp4", clip, FOUND, **ABOUT)
    assert str(error.value) == "clip.mkv: no frame can be decoded; check the file"
    assert list(tmp_path.iterdir()) == []


def test_the_video_itself_is_not_replaced(video_writer, tmp_path):
    path = video_writer(tmp_path / "a.mkv", [np.full((90, 160, 3), 99, np.uint8)] * 3)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"a\.mkv: is the video itself; name another file"):
        save_annotated_video(tmp_path / "." / "a.mkv", path, [], fps=10.0, duration=0.3)
    assert path.read_bytes() == before

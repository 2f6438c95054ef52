"""What the networks see of each unit, against slices of all frames at once."""

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

from cpmn_tf.encoding.decoding import VideoFile
from cpmn_tf.encoding.units import cropped, read_units, short_side


def both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Stands for flow: tells which two frames it is of."""
    return np.stack([first, second], axis=-1)


def expected_pairs(unit: int, unit_frames: int, pairs: int, frames: int) -> list[int]:
    """The first and the second frame of each pair, from the definition."""
    centre = unit * unit_frames + unit_frames // 2
    firsts = range(centre - pairs // 2, centre - pairs // 2 + pairs)
    clamped = [min(max(first, 0), frames - 2) for first in firsts]
    return [frame for first in clamped for frame in (first, first + 1)]


@pytest.mark.parametrize("frames", [2, 3, 7, 12])
def test_centre_frames_and_pairs_of_every_setting(video_writer, mean_color, tmp_path, frames):
    images = [np.full((16, 24), 10 * number, np.uint8) for number in range(frames)]
    path = video_writer(tmp_path / "clip.mkv", images, pix_fmt="gray")
    for unit_frames in range(1, 8):
        for pairs in range(1, 7):
            streams = {"rgb": mean_color(14, 3), "flow": mean_color(14, 2 * pairs)}
            settings = {"unit_frames": unit_frames, "compute_flow": both, "crops": 1}
            with VideoFile(path) as video:
                units = list(read_units(video, streams, **settings))
            assert len(units) == frames // unit_frames
            for number, unit in enumerate(units):
                assert unit["rgb"].shape == (1, 14, 14, 3)
                assert set(unit["rgb"].ravel()) == {10 * (number * unit_frames + unit_frames // 2)}
                shown = unit["flow"][0].reshape(-1, 2 * pairs)
                wanted = expected_pairs(number, unit_frames, pairs, frames)
                assert (shown == 10 * np.array(wanted)).all(), (unit_frames, pairs, number)


def test_a_single_frame_does_not_move(video_writer, mean_color, tmp_path):
    path = video_writer(tmp_path / "clip.mkv", [np.zeros((16, 24), np.uint8)], pix_fmt="gray")
    streams = {"flow": mean_color(14, 10)}
    with VideoFile(path) as video:
        (unit,) = read_units(video, streams, unit_frames=1, compute_flow=both, crops=1)
    assert (unit["flow"] == 128).all()


def test_repeated_frames_do_not_move(video_writer, mean_color, tmp_path):
    images = [np.full((16, 24), 10 * number, np.uint8) for number in range(4)]
    path = video_writer(tmp_path / "clip.mkv", images, pix_fmt="gray")
    with VideoFile(path, fps=20) as video:
        streams = {"flow": mean_color(14, 4)}
        units = list(read_units(video, streams, unit_frames=2, compute_flow=both, crops=1))
    assert [unit["flow"][0, 0, 0].tolist() for unit in units] == [
        [128, 128, 0, 10],  # ticks 0 0 1 1 2 2 3 3; pairs (0, 1) and (1, 2)
        [128, 128, 10, 20],
        [128, 128, 20, 30],
        [128, 128, 128, 128],
    ]


def test_only_frames_that_are_needed_are_converted(video_writer, mean_color, tmp_path, monkeypatch):
    images = [np.full((16, 24), number, np.uint8) for number in range(64)]
    path = video_writer(tmp_path / "clip.mkv", images, pix_fmt="gray")
    converted = {"rgb": 0, "grey": 0}
    for name, method in (("rgb", VideoFile.rgb), ("grey", VideoFile.grey)):

        def counted(*arguments, name=name, method=method):
            converted[name] += 1
            return method(*arguments)

        monkeypatch.setattr(VideoFile, name, counted)
    streams = {"rgb": mean_color(14, 3), "flow": mean_color(14, 10)}
    with VideoFile(path) as video:
        units = list(read_units(video, streams, unit_frames=16, compute_flow=both, crops=1))
    assert len(units) == 4
    assert converted == {"rgb": 4, "grey": 4 * 6}  # 5 pairs of 6 frames


@pytest.mark.parametrize("size, side", [(224, 256), (299, 342), (112, 128)])
def test_short_side_keeps_tsns_proportion(size, side):
    assert short_side(size) == side


def test_a_stream_sees_its_own_size(video_writer, mean_color, tmp_path):
    images = [np.random.default_rng(k).integers(0, 255, (90, 160, 3), np.uint8) for k in range(5)]
    path = video_writer(tmp_path / "clip.mkv", images)
    streams = {"rgb": mean_color(28, 3), "flow": mean_color(56, 10)}
    with VideoFile(path) as video:
        (unit,) = read_units(video, streams, unit_frames=5, compute_flow=both, crops=10)
        frames = list(VideoFile(path).ticks())
        rgb = video.rgb(frames[2], 32)
    assert unit["flow"].shape == (10, 56, 56, 10)
    # 160·32/90 = 56.9 wide: the centre begins at (32 - 28)/2 = 2 and at ⌊(57 - 28)/2⌋ = 14.
    assert rgb.shape == (32, 57, 3)
    np.testing.assert_array_equal(unit["rgb"][4], rgb[2:30, 14:42])


@pytest.mark.parametrize("channels, flow", [(3, False), (10, True)])
def test_ten_crops_against_slices(channels, flow):
    image = np.random.default_rng(0).integers(0, 255, (32, 47, channels), np.uint8)
    plain = [image[:20, :20], image[:20, -20:], image[-20:, :20], image[-20:, -20:]]
    plain.append(image[6:26, 13:33])
    mirrored = [square[:, ::-1].astype(int) for square in plain]
    if flow:
        signs = np.array([-1, 1] * 5)
        mirrored = [signs * square + 255 * (signs < 0) for square in mirrored]
    squares = cropped(image, 20, 10, flow)
    assert squares.dtype == np.uint8
    np.testing.assert_array_equal(squares, np.stack([*plain, *mirrored]))
    np.testing.assert_array_equal(cropped(image, 20, 1, flow), plain[4][None])

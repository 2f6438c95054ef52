"""Synthetic videos: what is drawn lasts as long as it says, and moves as it is called."""

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

from cpmn_tf.encoding.decoding import VideoFile
from experiments import synthetic_videos
from experiments.synthetic_videos import ACTIONS, COLOURS, MOTIONS, Part, instances, untrimmed


def pictures(path) -> np.ndarray:
    """[frames, height, width, 3] uint8."""
    with VideoFile(path) as video:
        return np.stack([video.rgb(frame, synthetic_videos.HEIGHT) for frame in video.ticks()])


def test_instances_are_the_parts_that_hold_an_action():
    parts = [Part(None, 2.0), Part("turning", 3.5), Part(None, 1.25), Part("turning", 2.0004)]
    assert instances(parts) == [
        {"segment": [2.0, 5.5], "label": "turning"},
        {"segment": [6.75, 8.75], "label": "turning"},
    ]
    assert instances(parts[:1]) == []
    assert instances(parts[1:2]) == [{"segment": [0.0, 3.5], "label": "turning"}]


def test_untrimmed_videos_hold_few_actions_between_none():
    rng = np.random.default_rng(0)
    drawn = [untrimmed(rng) for _ in range(200)]
    seen = set()
    for parts in drawn:
        held = [part.action for part in parts if part.action]
        seen |= set(held)
        assert 1 <= len(set(held)) <= 3 and len(set(held)) <= len(held) <= len(set(held)) + 1
        assert [part.action for part in parts][::2] == [None] * (len(held) + 1)
        assert all(2 <= part.seconds <= 5 for part in parts)
    assert seen == set(ACTIONS) and len({len(set(map(str, parts))) for parts in drawn}) > 1


@pytest.mark.parametrize("seconds, frames", [([1.0], 15), ([0.4, 0.61], 15), ([2 / 15, 1 / 15], 3)])
def test_a_video_has_its_parts_frames(tmp_path, seconds, frames):
    parts = [
        Part(action, length) for action, length in zip((None, "turning"), seconds, strict=False)
    ]
    synthetic_videos.write_video(tmp_path / "a.mp4", parts, np.random.default_rng(0))
    images = pictures(tmp_path / "a.mp4")
    assert images.shape == (frames, 80, 96, 3)
    with VideoFile(tmp_path / "a.mp4") as video:
        assert video.fps == 15
        assert sum(1 for _ in video.ticks()) == frames and float(video.duration) == frames / 15
        assert (video.repeated, video.skipped) == (0, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def frames_of(action: str | None, seed: int = 0, seconds: float = 4.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ground = np.zeros((80, 96, 3), np.uint8)
    return np.stack(list(synthetic_videos._frames([Part(action, seconds)], ground, rng)))


def places(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The shape's centre x and y and its area in every frame, pixels."""
    masks = images.max(3) > 20
    rows, columns = np.mgrid[:80, :96]
    area = masks.sum((1, 2))
    return (masks * columns).sum((1, 2)) / area, (masks * rows).sum((1, 2)) / area, area


@pytest.mark.parametrize("seed", range(4))
def test_actions_move_as_they_are_called(seed):
    """Swings of 18 pixels, beside a drift of at most 10; growing by 0.35 to and fro."""
    found = {action: places(frames_of(action, seed)) for action in (*ACTIONS, None)}
    spread = {action: [np.ptp(values) for values in parts] for action, parts in found.items()}
    area = {action: parts[2].max() / parts[2].min() for action, parts in found.items()}
    assert spread["side to side"][0] > 15 and spread["side to side"][1] < 11
    assert spread["up and down"][1] > 15 and spread["up and down"][0] < 11
    assert max(spread["turning"][:2]) < 11 + 6  # a triangle turns about another point
    for action in (None, *COLOURS):
        assert max(spread[action][:2]) < 11
    for action in COLOURS:
        assert area[action] > 2.5  # (1.35 / 0.65)² = 4.3
    for action in (*MOTIONS, None):
        assert area[action] < 1.6


def test_colour_tells_three_actions_apart_and_says_nothing_of_the_others():
    for action, colour in COLOURS.items():
        images = frames_of(action)
        mean = images[images.max(3) > 20].mean(0)
        assert mean.argmax() == np.argmax(colour)
    drawn = {
        tuple(frames_of(action, seed, 0.1)[0].reshape(-1, 3).argmax(1).tolist())
        for action in MOTIONS
        for seed in range(4)
    }
    assert len(drawn) > 3


def test_a_drawing_is_the_same_again(tmp_path):
    for name in "ab":
        rng = np.random.default_rng(3)
        synthetic_videos.write_video(tmp_path / f"{name}.mp4", [Part("turning", 0.5)], rng)
    np.testing.assert_array_equal(pictures(tmp_path / "a.mp4"), pictures(tmp_path / "b.mp4"))

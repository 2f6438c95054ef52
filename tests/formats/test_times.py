"""Times that cannot be seconds, of truth and of detections, and instances given twice."""

import dataclasses

import numpy as np
import pytest

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import Annotations, Instance, Video
from cpmn_tf.formats.detections import Detections
from cpmn_tf.formats.times import check_seconds, repeated

FILES = {"truth": "t.json", "found": "f.json"}


def truth_of(*ends, duration=60.0, unit=1.0):
    """Video a with instances of 1 s, their times multiplied by ``unit``."""
    instances = tuple(Instance((end - 1) * unit, end * unit, "x") for end in ends)
    return Annotations({"a": Video("a", "test", instances=instances, duration=duration)}, ("x",))


def found_of(*ends, unit=1.0):
    return Detections.from_rows((), [("a", "x", 0.0, end * unit, 1.0) for end in ends])


TWELVE = range(4, 60, 5)  # 4, 9, …, 59
MINUTE = truth_of(20.0)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        (30.0, "29.5"),  # frames: 59 · 30 / 60
        (1000.0, "983"),  # milliseconds
        (25 / 8, "3.07"),  # units of 8 frames at 25 per second
    ],
)
def test_truth_and_detections_far_after_their_videos(unit, factor):
    """The same is said of both: by which factor the last of a video is late, and what to do."""
    text = f"far after their videos, the last of a video at {factor} times its duration in the medi"
    with pytest.raises(UserError, match=rf"^t.json: \d+ of 12 instances end {text}"):
        check_seconds(truth_of(*TWELVE, unit=unit), found_of(*TWELVE), **FILES)
    with pytest.raises(UserError, match=rf"^f.json: \d+ of 12 detections end {text}"):
        check_seconds(truth_of(*TWELVE), found_of(*TWELVE, unit=unit), **FILES)
    with pytest.raises(UserError, match=r"1 of 2 .* 'a' lasts 60 s, one ends at 1500\)"):
        check_seconds(MINUTE, found_of(50.0, 1500.0), **FILES)


@pytest.mark.parametrize("duration", [60.0, None])
def test_truth_and_detections_in_fractions(duration):
    seconds, fractions = truth_of(*TWELVE, duration=duration), found_of(*TWELVE, unit=1 / 60)
    message = r"^f.json: all 12 detections end within 1 s, the median instance at 31.5 s; .* fract"
    with pytest.raises(UserError, match=message):
        check_seconds(seconds, fractions, **FILES)
    relative = truth_of(*TWELVE, duration=duration, unit=1 / 60)
    message = r"^t.json: all 12 instances end within 1 s, the median detection at 31.5 s; .* fract"
    with pytest.raises(UserError, match=message):
        check_seconds(relative, found_of(*TWELVE), **FILES)
    check_seconds(relative, fractions, **FILES)  # a video's tIoUs are the same in any unit


def test_plausible_times_pass():
    check_seconds(MINUTE, found_of(*[5.0] * 20, 700.0), **FILES)  # a wrong duration is no harm
    check_seconds(truth_of(*[5.0] * 20, 700.0), found_of(5.0), **FILES)
    check_seconds(MINUTE, found_of(92.0, 60.0), **FILES)  # half as long again and 2 s
    with pytest.raises(UserError, match="far after their videos"):
        check_seconds(MINUTE, found_of(92.1, 60.0), **FILES)
    check_seconds(MINUTE, found_of(0.5, 0.9), **FILES)  # too few to tell
    check_seconds(MINUTE, found_of(), **FILES)
    check_seconds(truth_of(20.0, duration=None), found_of(5000.0), **FILES)
    elsewhere = dataclasses.replace(found_of(5000.0), videos=("b",))
    check_seconds(MINUTE, elsewhere, **FILES)


def test_what_is_given_twice():
    """In the second group: 0.4 ms and 10 ms apart, then 11 ms, one longer, another group."""
    group = np.array([0, 1, 1, 1, 1, 1, 2])
    start = np.array([5, 5, 5, 5.0004, 5.01, 5.021, 5.021])
    end = np.array([9, 9, 20, 8.9996, 9, 9, 9])
    assert repeated(group, start, end).tolist() == [False, False, False, True, True, False, False]
    assert repeated(group[:0], start[:0], end[:0]).tolist() == []
    assert repeated(*np.zeros((3, 3))).tolist() == [False, True, True]

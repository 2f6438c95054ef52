"""What an evaluation says beside its figure, also to Python."""

import pytest

from cpmn_tf.evaluation import evaluate
from cpmn_tf.formats.annotations import Annotations, Instance, Video
from cpmn_tf.formats.detections import Detections


def said(truth, found, **durations):
    """The notes; truth and found are (video, start, end)."""
    videos = {
        name: Video(
            id=name,
            subset="test",
            instances=tuple(Instance(*row[1:], "x") for row in truth if row[0] == name),
            duration=durations.get(name),
        )
        for name in "abc"
    }
    detections = Detections.from_rows((), [(name, "x", *times, 1.0) for name, *times in found])
    return evaluate(Annotations(videos, ("x",)), detections, protocol="activitynet").notes


SECONDS = [("a", 10.0, 20.0), ("b", 2.0, 8.0), ("b", 30.0, 50.0), ("c", 3.0, 9.0)]


def multiplied(factor):
    return [(name, start * factor, end * factor) for name, start, end in SECONDS]


@pytest.mark.parametrize(
    ("factor", "durations"),
    [
        (30.0, {}),  # frames
        (30.0, {"a": 900.0, "b": 1800.0, "c": 600.0}),  # the durations too
        (1000.0, {}),  # milliseconds
        (29.97, {}),
        (1 / 0.03, {}),  # fractions of a duration of half a minute
    ],
)
def test_which_end_how_many_times_as_late(factor, durations):
    text = (
        f"{{}} end {factor:.3g} times as late as the {{}} of their videos, in the median: are both "
        "in seconds?"
    )
    assert said(multiplied(factor), SECONDS, **durations) == (
        text.format("instances", "detections"),
    )
    assert text.format("detections", "instances") in said(SECONDS, multiplied(factor))
    assert said(SECONDS, SECONDS, **durations) == said(multiplied(9.9), SECONDS) == ()


def test_a_part_of_the_detections_that_is_late():
    """Where no duration is known: two of ten start after 20 s, one of ten may."""
    truth = [("a", 10.0, 20.0)]
    late = [("a", start, start + 1) for start in (*[5.0] * 8, 21.0, 600.0)]
    assert said(truth, late) == (
        "2 of 10 detections start after the last instance of all videos (20 s): are their times "
        "seconds? The annotations hold no durations that would tell",
    )
    assert said(truth, late[:8] + late[9:] + late[:1]) == ()
    assert said(truth, late, b=60.0) == ()
    assert said(truth, []) == ("1 class without detections, with an AP of 0",)


def test_past_the_duration():
    """a lasts 19 s: 20 s is over a hundredth and a tenth of a second later; b's 50 s is not."""
    durations = {"a": 19.0, "b": 49.5}
    late = "ending after the duration of the video; are both in seconds?"
    assert said(SECONDS, SECONDS[:1] * 2, **durations) == (
        f"1 instance {late}",
        f"2 detections {late}",
    )


def test_instances_given_twice():
    """0.4 ms apart; every one but the first of them counts."""
    twice = [*SECONDS, ("a", 10.0004, 20.0), ("a", 10.0, 19.9996)]
    assert said(twice, SECONDS) == (
        "2 instances within 0.01 s of another of the class in the same video; drop_duplicates "
        "leaves such out",
    )

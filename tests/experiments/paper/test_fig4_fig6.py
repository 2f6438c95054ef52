"""The videos that are drawn."""

from cpmn_tf.formats.annotations import Annotations, Instance, Video
from experiments.paper import fig4_fig6


def test_pictures_are_of_the_videos_they_say():
    def video(name, *spans, label="a", duration=100.0):
        instances = tuple(Instance(start, end, label) for start, end in spans)
        return Video(name, "test", (label,), instances, duration=duration)

    two = Video("two", "test", ("a", "b"), (Instance(0, 9, "a"), Instance(9, 18, "b")), duration=99)
    known = [
        video("one", (0, 9)),
        video("short", (0, 1), (5, 6), (7, 8)),
        video("dense", (0, 3), (3, 6), (6, 9), duration=9.0),
        video("shorter but alone", (0, 0.5)),
        two,
        Video("none", "test", ("a",), duration=9.0),
    ]
    truth = Annotations({item.id: item for item in known}, ("a", "b"))
    # Single-class videos by number of instances: 1, 1, 3, 3; the median is the third, "dense".
    assert fig4_fig6.chosen(truth) == {
        "fig4": "dense",
        "fig6a": "two",
        "fig6b": "dense",
        "fig6c": "short",
    }

"""The videos that are drawn."""

from cpmn_tf.formats.annotations import Annotations, Instance, Video
from experiments import run
from experiments.harness import lab
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


def test_the_pictures_are_drawn(data_set, model_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lab.Lab, "trained", lambda self, variant, seed: (model_dir, []))
    arguments = ["--preset=watch", f"--data_dir={data_set}", f"--output_dir={tmp_path}"]
    assert run.main(["fig4_fig6", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line, name in zip(lines, ("fig4", "fig6a", "fig6b", "fig6c"), strict=True):
        assert line.startswith(f"{tmp_path / name}.png: video_")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000

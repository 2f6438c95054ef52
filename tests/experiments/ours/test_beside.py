"""The pictures of `plus` beside those of a rival."""

from cpmn_tf import plotting
from experiments import run
from experiments.harness import lab


def test_both_pictures_are_of_one_video_and_its_own_classes(
    data_set, model_dir, tmp_path, monkeypatch, capsys
):
    trained, drawn, figure = [], [], plotting.figure

    def train(self, variant, seed):
        trained.append((variant.name, seed))
        return model_dir, []

    def draw(recording):
        drawn.append(recording)
        return figure(recording)

    monkeypatch.setattr(lab.Lab, "trained", train)
    monkeypatch.setattr(plotting, "figure", draw)
    arguments = ["--preset=watch", f"--data_dir={data_set}", f"--output_dir={tmp_path}"]
    assert run.main(["beside", "--rival=UntrimmedNet, hard", *arguments]) == 0
    assert trained == [("plus", 0), ("UntrimmedNet, hard", 0)]
    assert drawn[0].id == drawn[1].id
    assert [item.labelled for recording in drawn for item in recording.classes] == [True, True]
    lines = capsys.readouterr().out.splitlines()
    for line, name in zip(lines, ("plus", "UntrimmedNet_hard"), strict=True):
        assert line.startswith(f"{tmp_path}/beside_{name}.png: ") and drawn[0].id in line
        assert (tmp_path / f"beside_{name}.png").stat().st_size > 10_000

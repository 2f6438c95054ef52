"""Each kind of T-CAS is judged on the same model."""

from cpmn_tf.evaluation import evaluate
from cpmn_tf.formats.annotations import load_annotations
from cpmn_tf.inference import localize
from cpmn_tf.training import load_model
from experiments import run
from experiments.harness import lab
from experiments.ours import why_mining


def test_rows_and_columns_are_what_they_are_called(data_set, model_dir, tmp_path, monkeypatch):
    trained, found = [], []

    def settings_of(self, variant, seed):
        trained.append(variant.settings)
        return model_dir, []

    def judge(truth, detections, **options):
        found.append(detections)
        return evaluate(truth, detections, **options)

    monkeypatch.setattr(lab.Lab, "trained", settings_of)
    monkeypatch.setattr(why_mining, "evaluate", judge)
    arguments = ["--preset=watch", f"--data_dir={data_set}", f"--output_dir={tmp_path}"]
    assert run.main(["why_mining", *arguments, "--seeds=1"]) == 0
    assert trained == [()] * 4 + [("cascade.erasing=none",), ("cascade.erasing=random",)]
    text = (tmp_path / "why_mining.md").read_text()
    assert text.startswith("# What the mining T-CAS adds\n\nmAP in %. ")
    assert "1 seed. Split testing, 5 videos, 10 instances" in text

    # The row of mining is what the model does.
    model = load_model(model_dir, {"localization.attention": False})
    own = localize(model, data_set, split="testing")
    truth = load_annotations(data_set / "annotations.json").subset("testing")
    average = evaluate(truth, own, protocol="activitynet").average_map
    assert f"\n| M(Cas) = max{{M(A), M(B)}} | {100 * average:.1f} |" in text

    # The true classes are those alone: a video of one class has no second one, whose erasing would
    # join the mask, although the model keeps two.
    assert model.config.localization.top_k == 2
    assert any(len(video.labels) == 1 for video in truth.videos.values())
    for known in found[1::2]:
        for video, label in zip(known.video, known.label, strict=True):
            assert known.classes[label] in truth.videos[known.videos[video]].labels

"""Each kind of T-CAS is judged on the same model."""

from cpmn_tf.evaluation import evaluate
from cpmn_tf.formats.annotations import load_annotations
from cpmn_tf.inference import localize
from cpmn_tf.training import load_model
from experiments import run
from experiments.harness import lab


def test_the_row_of_mining_is_what_the_model_does(data_set, model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(lab.Lab, "trained", lambda self, variant, seed: (model_dir, []))
    arguments = ["--preset=watch", f"--data_dir={data_set}", f"--output_dir={tmp_path}"]
    assert run.main(["why_mining", *arguments, "--seeds=2"]) == 0
    text = (tmp_path / "why_mining.md").read_text()
    assert text.startswith("# What the mining T-CAS adds\n\nmAP in %. ")
    assert "2 seeds. Split testing, 5 videos, 10 instances" in text

    model = load_model(model_dir, {"localization.attention": False})
    found = localize(model, data_set, split="testing")
    truth = load_annotations(data_set / "annotations.json").subset("testing")
    average = evaluate(truth, found, protocol="activitynet").average_map
    assert f"\n| M(Cas) = max{{M(A), M(B)}} | {100 * average:.1f} ± 0.0 |" in text

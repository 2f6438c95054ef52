"""What `make gpu-check` prints, on the CPU that there is."""

import numpy as np

from cpmn_tf.localization.detect import Detected
from experiments.benchmarks import gpu_check, training


def test_on_a_cpu_it_says_so_and_ends_in_a_table(capsys, monkeypatch):
    monkeypatch.setattr(training, "ROUNDS", 1)
    monkeypatch.setattr(training, "WARM", 1)
    monkeypatch.setattr(training, "STEPS", {"cascade": 1, "pyramid": 1})
    monkeypatch.setattr(gpu_check, "is_emulated", lambda precision: precision != "float32")
    monkeypatch.setattr(gpu_check, "LENGTHS", (80, 20))
    gpu_check.main()
    device, _, *lines, last = capsys.readouterr().out.strip().splitlines()
    assert device == "device: no GPU was found; what follows is the CPU's"
    rows = [line.split(" | ")[0].strip("| ") for line in lines]
    assert [row for row in rows if "," in row] == [
        *("cascade, float32", "cascade, float32, XLA", "pyramid, float32", "pyramid, float32, XLA")
    ]
    assert last.startswith("CPU:0 in float32 against the CPU: ")
    assert "largest difference 0 s, 0 of a score; 0 of another class" in last
    assert " 0 detections" not in last


def test_a_gpu_has_every_variant():
    assert list(gpu_check.variants(True)) == list(gpu_check.VARIANTS)
    assert gpu_check.VARIANTS["TF32"].tf32 and not gpu_check.VARIANTS["float32"].tf32


def test_differences_are_told():
    ours = Detected(
        **{name: np.zeros(1, int) for name in Detected._fields}
        | {"segments": np.float32([[[0, 1]]]), "scores": np.float32([[2]])}
        | {"labels": np.int32([[0]]), "counts": np.int32([1])}
    )
    theirs = ours._replace(scores=ours.scores + 0.5, labels=ours.labels + 1)
    told = gpu_check.differences(ours, theirs)
    assert told == (
        "1 detections; largest difference 0 s, 0.5 of a score; 1 of another class at the same rank"
    )
    fewer = ours._replace(counts=np.int32([0]))
    assert gpu_check.differences(ours, fewer) == "1 detections against 0"

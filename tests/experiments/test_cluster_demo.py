"""The demonstration of a cluster, in miniature: a worker is killed, and the bytes are the same."""

import json

import pytest

pytest.importorskip("ray", reason="the extra [cluster] is not installed")

from cpmn_tf.commands import cli
from experiments import cluster_demo


def test_a_killed_worker_changes_no_byte(tmp_path, monkeypatch, capfd):
    video = {"subset": "training", "duration": 900.0, "fps": 30}
    video["annotations"] = [{"label": "run", "segment": [1.0, 9.0]}]
    timelines = tmp_path / "timelines.json"
    timelines.write_text(json.dumps({"database": {f"{n:02d}": video for n in range(12)}}))
    monkeypatch.setattr(
        cluster_demo, "SOURCE", ("--source=simulated", f"--annotations={timelines}")
    )
    monkeypatch.setattr(cluster_demo, "PARTS", 3)
    flags = [f"--output_dir={tmp_path / 'demo'}"]
    program = ("demo", None, cluster_demo.define_flags, cluster_demo.run)
    assert cli.execute(*program, flags) == 0
    shown = capfd.readouterr().out
    assert " while it wrote part " in shown and "training: 12 videos" in shown
    assert all(f"part {number}/3: 4 videos; it is in " in shown for number in (1, 2, 3))
    one, many = (cluster_demo.digests(tmp_path / "demo" / name) for name in ("one", "many"))
    assert one == many and len(one) > 3
    assert f"The same {len(one)} files, by SHA-256:" in shown
    assert not (tmp_path / "demo" / "many-parts").exists()

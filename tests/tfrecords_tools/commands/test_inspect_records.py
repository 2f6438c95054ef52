"""What is in a data set is shown, and what is broken is named."""

import json

import numpy as np
import pytest

from tfrecords_tools.commands import build_records, inspect_records


@pytest.fixture
def built(folders, capsys):
    assert build_records.main(folders.flags()) == 0
    capsys.readouterr()
    return folders


def inspect(folders, capsys, *more, code=0) -> str:
    assert inspect_records.main([f"--data_dir={folders.output}", *more]) == code
    shown = capsys.readouterr()
    return shown.err if code else shown.out


def test_text(built, capsys):
    lines = inspect(built, capsys).splitlines()
    assert "streams: flow 2, rgb 4; float16; units per second: 2.0" in lines
    assert "training: 3 videos, 21 units, 0.00 hours, 1 shards of 0.0 to 0.0 MiB" in lines
    assert "  seconds per video: min 3.5, median 3.5, max 3.5" in lines
    assert "  run: 3 videos, 3 instances" in lines
    assert "  jump: 2 videos" in lines


def test_json(built, capsys):
    content = json.loads(inspect(built, capsys, "--json"))
    assert content["streams"] == {"flow": 2, "rgb": 4}
    assert content["splits"]["test"]["classes"]["run"] == {"videos": 1, "instances": 1}
    assert content["source"]["unit_frames"] == 5


def test_one_record(built, capsys):
    text = inspect(built, capsys, "--id=-first")
    assert text.startswith("-first: training, 6 units, 3.50 seconds, 2 units per second\n")
    assert "labels: jump, run" in text and "0.50 -     1.00 seconds  run" in text
    content = json.loads(inspect(built, capsys, f"--id={built.ids[3]}", "--json"))
    saved = np.load(built.path("rgb", built.ids[3])).astype(np.float16)
    assert content["features"]["rgb"]["max"] == saved.max()
    assert content["split"] == "test" and content["instances"][0]["label"] == "run"
    assert "has no video 'none'" in inspect(built, capsys, "--id=none", code=1)


def test_shards_are_measured_and_not_read(built, capsys):
    shard = built.output / "test-00000-of-00001.tfrecord"
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)
    inspect(built, capsys)
    shard.write_bytes(data[:-1])
    assert "bytes instead of" in inspect(built, capsys, code=1)


def test_flags(tmp_path, capsys):
    assert inspect_records.main([]) == 2
    assert inspect_records.main(["--help"]) == 0
    assert inspect_records.main([f"--data_dir={tmp_path}"]) == 1
    assert "give a folder of cpmn-build-records" in capsys.readouterr().err

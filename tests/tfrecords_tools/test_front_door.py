"""`import tfrecords_tools` is the front door: from Python to records, without a command."""

import subprocess
import sys

import pytest

import tfrecords_tools
from cpmn_tf.data.manifest import Manifest
from cpmn_tf.errors import UserError


def settings(folders) -> dict:
    return {
        "features_dir": folders.features,
        "annotations": folders.annotations,
        "unit_frames": 5,
    }


def test_records_from_python(folders, capsys):
    found = tfrecords_tools.validate_records(source="folders", **settings(folders))
    assert found.videos == 4 and found.units == 30 and found.errors == 0
    assert found.splits == {"training": 3, "test": 1} and found.training_split == "training"
    assert str(found).startswith("read: 4 videos (training 3, test 1), 30 units; streams: flow 2")
    built = tfrecords_tools.build_records(
        source="folders", **settings(folders), output_dir=folders.output
    )
    assert built.manifest == Manifest.load(folders.output)
    assert built.manifest.folder == str(folders.output)
    lines = str(built).splitlines()
    assert lines[0].startswith("training: 3 videos, 21 units, 1 shards")
    assert lines[-1] == f"records are in {folders.output}"
    again = tfrecords_tools.validate_records(data_dir=folders.output)
    assert (again.videos, again.units, again.errors) == (4, 30, 0)
    assert capsys.readouterr().out == ""


def test_errors_name_arguments(folders):
    build, given = tfrecords_tools.build_records, settings(folders)
    with pytest.raises(UserError, match="`unit_frames` is missing; `source=folders` needs it"):
        build(**{**given, "unit_frames": None}, output_dir=folders.output)
    for wrong in ({"fps": 0}, {"unit_frames": -1}, {"dtype": "int8"}, {"shards": 0}):
        ((name, value),) = wrong.items()
        with pytest.raises(UserError, match=f"`{name}={value}` (must be|is )"):
            build(**{**given, **wrong}, output_dir=folders.output)
    with pytest.raises(UserError, match="`features_dir` does not go with `data_dir`"):
        tfrecords_tools.validate_records(data_dir="x", features_dir="y")
    folders.output.mkdir()
    (folders.output / "file").write_text("")
    with pytest.raises(UserError, match="add `overwrite=True`"):
        build(**given, output_dir=folders.output)
    with pytest.raises(AttributeError, match="no attribute 'inspect'"):
        _ = tfrecords_tools.inspect


def test_importing_loads_no_tensorflow():
    names = "tensorflow", "keras", "numpy", "absl"
    code = f"import sys, tfrecords_tools; print([n for n in {names} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

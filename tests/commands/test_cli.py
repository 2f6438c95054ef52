"""What all commands share: quiet start, plain help, one line where the disk refuses."""

import errno
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from cpmn_tf.commands import analyze, cli, evaluate, export, localize, plot, train
from cpmn_tf.errors import UserError
from cpmn_tf.files import disk_error, replaced


def run_in_shell(line: str) -> subprocess.CompletedProcess:
    """A command as a user's shell runs it; ``cpmn-NAME`` is this environment's."""
    line = line.replace("cpmn-", f"{sys.executable} -m cpmn_tf.commands.")
    command = ["bash", "-c", f"set -o pipefail; {line}"]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("command", [analyze, evaluate, export, localize, plot, train])
def test_help_describes_every_flag_without_absls_remarks(capsys, command):
    assert command.main(["--help"]) == 0
    shown = capsys.readouterr().out
    values = cli.Flags()
    command.define_flags(values)
    for name in values:
        assert f"  --{name}" in shown
    assert "repeat this option" not in shown and "[]" not in shown and "'" * 2 not in shown


def test_help_shows_a_default_of_zero_but_not_of_nothing(capsys):
    train.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert "  --seed (default: 0)" in lines and "  --preset (default: thumos14)" in lines
    assert {"  --xla", "  --set", "  --split"} <= set(lines)


def test_what_absl_cannot_read_is_one_line(tmp_path, capsys):
    path = tmp_path / "more.flags"
    path.write_bytes("--split=prüfung\n".encode("latin-1"))
    assert evaluate.main([f"--flagfile={path}"]) == 2
    line = f"cpmn-evaluate: --flagfile={path}: is not UTF-8 text; save it as UTF-8"
    assert capsys.readouterr().err == f"{line} (see cpmn-evaluate --help)\n"
    assert evaluate.main([f"--{'x' * 2000}"]) == 2
    assert capsys.readouterr().err.startswith("cpmn-evaluate: a flag of a thousand letters is")


def test_a_reader_that_has_seen_enough_is_no_error():
    found = run_in_shell("cpmn-train --print_config | head -1")
    assert found.stdout.startswith("# data:") and not found.stderr


def test_a_command_starts_without_tensorflows_notices(tmp_path):
    program = "from cpmn_tf.commands import cli; cli.load_tensorflow(); import tensorflow as tf\n"
    program += "tf.function(lambda x: x + x)(tf.ones([2], tf.float16))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


TENSORFLOWS = (
    "{{function_node __wrapped__SaveV2_dtypes_42_device_/job:localhost}} m/ckpt-6_temp/part; "
    "No space left on device [Op:SaveV2]"
)


@pytest.mark.parametrize(
    "error, line",
    [
        (OSError(errno.ENOSPC, "No space left on device", "a b"), "a b: cannot be written (No spa"),
        (OSError(errno.EROFS, "Read-only file system"), "a file: cannot be written (Read-only fi"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: cannot be written (Permis"),
        (
            tf.errors.ResourceExhaustedError(None, None, TENSORFLOWS),
            "m/ckpt-6_temp/part: cannot be written (No space left on device)",
        ),
        (
            tf.errors.PermissionDeniedError(None, None, "f/y; Read-only file system [Op:Create]"),
            "f/y: cannot be written (Read-only file system)",
        ),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), None),
        (OSError(errno.ENOENT, "No such file or directory", "x"), None),
        (ValueError("x; y"), None),
    ],
)
def test_what_the_disk_refuses_is_told_from_bugs(error, line):
    found = disk_error(error)
    assert (found is None) if line is None else found.startswith(line)


def test_a_refusing_disk_is_one_line_and_a_bug_keeps_its_traceback(capsys):
    def full(_):
        raise tf.errors.ResourceExhaustedError(None, None, TENSORFLOWS)

    assert cli.execute("cpmn-x", "", lambda _: None, full, []) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cpmn-x: error: m/ckpt-6_temp/part: cannot be written (No space")

    def bug(_):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        cli.execute("cpmn-x", "", lambda _: None, bug, [])


def test_a_full_disk_names_the_file_that_was_to_be_and_leaves_nothing(tmp_path):
    with (
        pytest.raises(UserError, match=r"out\.json: cannot be written"),
        replaced(tmp_path / "out.json") as temporary,
    ):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "line",
    [
        "cpmn-train --data_dir={data} --model_dir={out}",
        "cpmn-export --model_dir={model} --export_dir={out}",
        "cpmn-plot --data_dir={data} --model_dir={model} --output_dir={out}",
    ],
)
def test_a_disk_that_takes_no_more_ends_with_one_line(
    data_set, model_dir, tmp_path, small_settings, line
):
    """`ulimit -f` lets no file grow beyond so many KiB, and writing fails as on a full disk."""
    line = line.format(data=data_set, model=model_dir, out=tmp_path / "out")
    if "train" in line:
        line += "".join(f" --set={item}" for item in small_settings)
    found = run_in_shell(f"ulimit -f 8; {line}")
    assert found.returncode == 1, found.stderr
    (shown,) = found.stderr.splitlines()
    assert str(tmp_path / "out") in shown and "cannot be written (File too large)" in shown

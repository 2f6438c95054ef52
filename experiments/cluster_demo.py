"""`make cluster-demo`: two workers build a data set, one is killed, and the bytes are the same.

Builds the simulated data set (SIMULATED features, no download) once in one process, and once in
parts by Ray tasks in two processes of this machine, one of which it kills with SIGKILL while it
writes. Then it compares the SHA-256 of all files.

Needs the extra `[cluster]`.
"""

import contextlib
import pathlib
import re
import shlex
import subprocess
import sys
import time

import psutil

from cpmn_tf.commands import cli
from cpmn_tf.errors import UserError
from cpmn_tf.files import file_sha256
from cpmn_tf.shards import part_path
from tfrecords_tools.commands import build_records

SOURCE = ("--source=simulated",)
PARTS = 8


def define_flags(values: cli.Flags) -> None:
    """The demo's only flag."""
    values.string("output_dir", "Folder for all that the demo makes.", default="runs/cluster-demo")


def shown(output: pathlib.Path, *more: str) -> list[str]:
    """The flags of a cpmn-build-records, which is shown."""
    flags = [*SOURCE, f"--output_dir={output}", "--overwrite", *more]
    print(f"    $ {shlex.join(['cpmn-build-records', *flags])}", flush=True)
    return flags


def kill_one(building: subprocess.Popen, output: pathlib.Path) -> None:
    """Kills a worker of a build while it writes a part.

    Raises:
      UserError: if the build ends before.
    """
    while building.poll() is None:
        for worker in psutil.Process(building.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # of one that has just ended
                # Ray calls a process by what it does.
                found = re.match(r"ray::part (\d+/\d+)", " ".join(worker.cmdline()))
                if found and _written(output, found[1]):
                    worker.kill()
                    print(f"    killed process {worker.pid} while it wrote part {found[1]}")
                    return
        time.sleep(0.01)
    raise UserError("the build ended before a worker could be killed; see what it printed")


def _written(output: pathlib.Path, shard: str) -> bool:
    """Whether some of a part's records are on the disk, under their temporary name."""
    from tfrecords_tools.parts import RECORDS  # which loads TensorFlow

    path = part_path(output, shard)
    files = path.parent.glob(f".{path.name}-*/{path.name}/{RECORDS}")
    return any(file.stat().st_size for file in files)


def check(code: int) -> None:
    """Looks at a build's exit code.

    Raises:
      UserError: if it failed.
    """
    if code:
        raise UserError(f"the build ended with exit code {code}; see what it printed")


def digests(folder: pathlib.Path) -> dict[str, str]:
    """The SHA-256 of each file by its name."""
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir())}


def run(values: cli.Flags) -> None:
    """Builds twice and compares."""
    one, many = (pathlib.Path(values.output_dir, name) for name in ("one", "many"))
    print("\nBuild SIMULATED records in one process", flush=True)
    check(build_records.main(shown(one)))
    print(f"\nBuild them in {PARTS} parts by two workers, one of which is killed", flush=True)
    flags = shown(many, "--cluster=local", "--workers=2", f"--parts={PARTS}")
    building = subprocess.Popen([sys.executable, "-m", build_records.__name__, *flags])
    try:
        kill_one(building, many)
        check(building.wait())
    finally:
        building.terminate()
    ours, theirs = digests(one), digests(many)
    if ours != theirs:
        raise UserError(f"{many}: is not {one} byte by byte; this is a bug, please report it")
    print(f"\nThe same {len(ours)} files, by SHA-256:\n")
    for name, digest in ours.items():
        print(f"    {digest[:16]}…  {name}")


if __name__ == "__main__":
    sys.exit(cli.execute("experiments.cluster_demo", __doc__, define_flags, run))

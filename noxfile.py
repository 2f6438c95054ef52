"""`nox` runs the tests on each supported Python that this machine has: `nox -- tests/models`.

`make test` runs them on one. The virtual environments are in `.nox/`; `nox -R` uses them again.
"""

import glob
import os
import shutil
import subprocess

import nox

SUPPORTED = ("3.11", "3.12", "3.13")


def _works(python: str) -> bool:
    """Whether an interpreter starts; a shim of pyenv may be there without its version."""
    return subprocess.run([python, "-c", ""], stderr=subprocess.DEVNULL).returncode == 0


def interpreter(version: str) -> str | None:
    """Path of a Python ``version``: on the PATH, or among pyenv's; None where there is none."""
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    found = shutil.which(f"python{version}")
    candidates = [found] if found else []
    candidates += sorted(glob.glob(f"{root}/versions/{version}.*/bin/python"))
    return next(filter(_works, candidates), None)


PRESENT = {version: path for version in SUPPORTED if (path := interpreter(version))}
nox.options.default_venv_backend = "venv"


@nox.session
@nox.parametrize(
    "python",
    [nox.param(path, id="py" + version.replace(".", "")) for version, path in PRESENT.items()],
)
def tests(session: nox.Session) -> None:
    """The tests, or those named after `--`."""
    session.install("--quiet", "--editable", ".[test,video,serving,cluster,onnx]")
    session.run("python", "-m", "pytest", "--numprocesses=2", "--dist=loadfile", *session.posargs)

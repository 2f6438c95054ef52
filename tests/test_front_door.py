"""`import cpmn_tf`: what it offers, and what it does not load."""

import subprocess
import sys

import pytest

import cpmn_tf

HEAVY = ("tensorflow", "keras", "matplotlib", "scipy")


def loaded(program: str) -> set[str]:
    """Which heavy libraries a fresh interpreter has loaded after the program."""
    program += f"\nimport sys; print(*(name for name in {HEAVY} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_importing_loads_nothing_heavy():
    assert loaded("import cpmn_tf; dir(cpmn_tf)") == set()


def test_evaluating_loads_nothing_heavy():
    names = "cpmn_tf.evaluate, cpmn_tf.load_annotations, cpmn_tf.UserError"
    assert loaded(f"import cpmn_tf; {names}") == set()
    assert "tensorflow" in loaded("import cpmn_tf; cpmn_tf.load_model")


@pytest.mark.parametrize("name", cpmn_tf.__all__)
def test_every_name_is_there(name):
    assert callable(getattr(cpmn_tf, name)) and name in dir(cpmn_tf)
    assert name in vars(cpmn_tf)  # a second use looks nothing up


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="'cpmn_tf' has no attribute 'trian'"):
        cpmn_tf.trian  # noqa: B018
    assert cpmn_tf.__version__

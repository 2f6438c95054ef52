"""WORKSPACE.md lists the functions that a record and an annotation pass through: a profile says so.

Where this fails after a change, the assertion shows the new list; is it longer, and need it be?
"""

import pathlib
import re
import sys
from collections.abc import Callable

import cpmn_tf
from cpmn_tf import evaluate, load_annotations, load_model, localize
from cpmn_tf.formats.detection_files import load_detection_file
from cpmn_tf.formats.detections import save_detections
from cpmn_tf.localization import detect

ROOT = pathlib.Path(__file__).parents[1]
WORKSPACE = (ROOT / "WORKSPACE.md").read_text("utf-8")


def passed(call: Callable[[], object]) -> str:
    """The package's functions that ``call`` enters, in the order of their first call, by file."""
    found: dict[tuple[str, str], None] = {}
    package = f"{pathlib.Path(cpmn_tf.__file__).parent}/"

    def look(frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(package) and "<" not in code.co_name:
            name = code.co_qualname.replace("<locals>.", "")
            found.setdefault((code.co_filename.removeprefix(package), name))

    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(None)
    files = {file: [name for other, name in found if other == file] for file, _ in found}
    return "\n".join(f"{file}: {' '.join(names)}" for file, names in files.items())


def listed(heading: str) -> str:
    """What WORKSPACE.md has below a heading, lines of a file joined."""
    block = WORKSPACE.split(f"### {heading}", 1)[1].split("```")[1].strip()
    return re.sub(r" (\S+\.py:)", r"\n\1", " ".join(block.split()))


def test_one_record_from_shard_to_detection(data_set, model_dir):
    model = load_model(model_dir)
    detect._graph.cache_clear()
    assert passed(lambda: localize(model, data_set)) == listed("One record")


def test_one_annotation_from_file_to_map(data_set, model_dir, tmp_path):
    detections = localize(load_model(model_dir), data_set)
    save_detections(tmp_path / "detections.json", detections, "test")

    def judge():
        truth = load_annotations(data_set / "annotations.json").subset("testing")
        found = load_detection_file(tmp_path / "detections.json", classes=truth.classes)
        evaluate(truth, found, protocol="activitynet")

    assert passed(judge) == listed("One annotation")

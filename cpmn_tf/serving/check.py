"""Whether an export gives the model's detections where neither this package nor Keras is."""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf

from cpmn_tf import inference
from cpmn_tf.data.records import VideoRecord
from cpmn_tf.errors import UserError
from cpmn_tf.models import CPMN
from cpmn_tf.serving import videos

LENGTHS = (300, 70, 1)  # units of the videos that are drawn: several windows, two, a part of one
TOLERANCE = 1e-4

# Runs every signature that there are inputs of. Importing what is None here fails, now and later.
_PROGRAM = """
import sys
blocked = "cpmn_tf", "tfrecords_tools", "keras"
for name in blocked:
    sys.modules[name] = None
import pathlib
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
for path in pathlib.Path(sys.argv[2]).glob("*.npz"):
    with np.load(path) as file:
        inputs = dict(file)
    if path.stem == "serialized":
        inputs = {"examples": [inputs[name].tobytes() for name in sorted(inputs)]}
    inputs = {name: tf.constant(values) for name, values in inputs.items()}
    found = model.signatures[path.stem](**inputs)
    found = {name: values.numpy() for name, values in found.items()}
    found["class_names"] = found["class_names"].astype(bytes)  # not as Python objects
    np.savez(pathlib.Path(sys.argv[3]) / path.name, **found)
loaded = {name.partition(".")[0] for name, module in sys.modules.items() if module}
assert not loaded & set(blocked), loaded
"""


def check(folder: pathlib.Path, model: CPMN, example: VideoRecord | None = None) -> str:
    """Compares an export, loaded in a process of its own, with the model that it was made of.

    Args:
      folder: of the SavedModel.
      model: whose detections are the right ones.
      example: a video to compare on; by default a batch of drawn ones of different lengths.

    Returns:
      One line that says what was compared.

    Raises:
      UserError: if the export cannot be run, or naming the first difference.
    """
    clips = [example] if example else videos.drawn(model.streams, LENGTHS)
    classes = model.manifest.classes
    inputs = videos.arrays(clips, model.streams)
    scores = np.random.default_rng(0).random((len(clips), len(classes)), np.float32)
    given = {
        "detect": inputs,
        "detect_with_class_scores": inputs | {"class_scores": scores},
        "serialized": {
            f"{number:04d}": np.frombuffer(record, np.uint8)
            for number, record in enumerate(videos.examples(clips, model.streams, classes))
        },
    }
    found = _run(folder, given)
    detections = 0
    for signature, answer in found.items():
        wanted = _model(model, inputs, scores if "scores" in signature else None)
        _compare(signature, wanted, answer, clips)
        detections += int(wanted["counts"].sum())
    what = f"the example {example.id!r}" if example else f"drawn videos of {LENGTHS} units"
    return (
        f"checked on {what}: {', '.join(found)} give the model's {detections} detections in a "
        "process without this package"
    )


def _run(
    folder: pathlib.Path, given: dict[str, dict[str, np.ndarray]]
) -> dict[str, dict[str, np.ndarray]]:
    """The export's outputs by signature."""
    with tempfile.TemporaryDirectory() as scratch:
        inputs, outputs = pathlib.Path(scratch, "in"), pathlib.Path(scratch, "out")
        for made in (inputs, outputs):
            made.mkdir()
        for signature, values in given.items():
            np.savez(inputs / f"{signature}.npz", **values)  # type: ignore[arg-type]
        # -P: nothing is imported from the folder that the command happens to run in.
        arguments = [sys.executable, "-P", "-c", _PROGRAM, str(folder), str(inputs), str(outputs)]
        ended = subprocess.run(arguments, capture_output=True, text=True, errors="replace")
        if ended.returncode:
            said = [line for line in ended.stderr.splitlines() if "Error: " in line]
            last = (said or ["no message"])[-1][:300]
            raise UserError(f"the export does not run without this package ({last}); report it")
        found = {}
        for signature in given:
            with np.load(outputs / f"{signature}.npz") as file:
                found[signature] = dict(file)
        return found


def _model(
    model: CPMN, inputs: dict[str, np.ndarray], scores: np.ndarray | None
) -> dict[str, np.ndarray]:
    """The same of the model."""
    tensors = {name: tf.constant(values) for name, values in inputs.items()}
    features = {name: tensors.pop(name) for name in model.streams}
    extra = [] if scores is None else [tf.constant(scores)]
    found = inference.compiled(model, scores is not None)(features, *tensors.values(), *extra)
    wanted = {name: values.numpy() for name, values in found._asdict().items()}
    names = np.array([*model.manifest.classes, ""])
    return wanted | {"class_names": np.strings.encode(names[wanted["labels"]], "utf-8")}


def _compare(
    signature: str,
    wanted: dict[str, np.ndarray],
    found: dict[str, np.ndarray],
    clips: list[VideoRecord],
) -> None:
    for name in sorted(wanted, key=lambda name: name != "counts"):  # which says most
        for clip, ours, theirs in zip(clips, wanted[name], found[name], strict=True):
            same = ours.shape == theirs.shape and (
                np.allclose(ours, theirs, TOLERANCE, TOLERANCE)
                if ours.dtype.kind == "f"
                else np.array_equal(ours, theirs)
            )
            if not same:
                raise UserError(
                    f"the export's {signature} gives other {name} than the model of the video "
                    f"{clip.id!r}; no version was made of it, report it"
                )

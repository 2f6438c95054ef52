"""A trained model as a SavedModel that needs neither this package nor Keras to run.

Signatures, all of free batch size and time length:

`serving_default`, `detect`
    in: one [batch, units, G] float32 per stream, by its name; `lengths` [batch] int32, units;
    `rates` [batch] float32, units per second; `durations` [batch] float32, seconds.
    out: `segments` [batch, most, 2] seconds, `labels` [batch, most] int32 (-1 in padding) and
    their `class_names` [batch, most] string ("" in padding), `scores` [batch, most], `counts`
    [batch], `silent` [batch], `status` [batch] int32: 0, or what is wrong with the video, which
    then has no detections and takes nothing from the others.
`detect_with_class_scores`
    the same with `class_scores` [batch, C], external video-level class probabilities.
`serialized`
    in: `examples` [batch] string, `tf.train.Example` as the shards of a data set hold them, float16
    or float32. out: as `detect`.
`score`
    in: streams, `lengths`, `rates`. out: `class_scores` [batch, C]; for each of the selected
    `rows` [rows, 2] (video, class): `p_class` [rows], and [rows, streams, grid] `original`,
    `mining`, `cascaded` T-CAS, `attention` and `phi`, and [rows, grid] `act`, what p_act averages;
    `grid_lengths` and `unit_seconds` [batch]; `status` [batch]: rows of faulty videos say nothing.

Class names, all settings and the texts of `status`, by code, travel as the asset `model.json`.
Beside it, in `assets.extra`: requests that warm TensorFlow Serving up, and an example.
"""

import functools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from cpmn_tf import inference
from cpmn_tf.data.manifest import check_stream_names
from cpmn_tf.data.records import VideoRecord, parse_batch
from cpmn_tf.errors import UserError
from cpmn_tf.files import write_json
from cpmn_tf.localization import Detected
from cpmn_tf.localization.status import STATUS
from cpmn_tf.models import CPMN
from cpmn_tf.serving import videos, warmup
from cpmn_tf.serving.check import check as check_export
from cpmn_tf.serving.versions import GRAPH_FILE
from cpmn_tf.training.model_folder import FILE, ModelManifest


def export(
    model: CPMN,
    export_dir: str | os.PathLike,
    *,
    example: VideoRecord | None = None,
    check: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> pathlib.Path:
    """Writes the next version under ``export_dir``, as TensorFlow Serving reads them.

    Args:
      model: of :func:`~cpmn_tf.load_model`.
      export_dir: folder of the numbered version folders.
      example: a video of ``cpmn_tf.serving.videos.of_data_set`` to put into it.
      check: see :func:`~cpmn_tf.serving.check.check`; what fails it does not become a version.
      report: called with lines worth showing.

    Returns:
      The version's folder.

    Raises:
      UserError: if a stream is called what a graph cannot call it, nothing can be written there, or
        the check fails.
    """
    check_stream_names(model.streams)  # which were not checked when older models were trained
    export_dir = pathlib.Path(export_dir)
    try:
        export_dir.mkdir(parents=True, exist_ok=True)
        scratch = pathlib.Path(tempfile.mkdtemp(prefix=".writing-", dir=export_dir))
    except OSError as error:
        raise UserError(f"{export_dir}: cannot be written ({error.strerror})") from error
    try:
        write_json(scratch / FILE, description(model))
        archive = _archive(model, scratch / FILE)
        archive.write_out(str(scratch / "model"), verbose=False)
        extra = scratch / "model" / "assets.extra"
        extra.mkdir(exist_ok=True)
        if example:
            videos.write(example, model.manifest.classes, extra)
        if not warmup.write(model, extra):
            report("no warm-up requests for TensorFlow Serving; pip install '.[serving]' for them")
        if check:
            report(check_export(scratch / "model", model, example))
        version = _publish(scratch / "model", export_dir)
        warmup.write_batching(export_dir)
        return version
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def description(model: CPMN) -> dict[str, Any]:
    """What an export's ``model.json`` says."""
    return {**model.manifest.to_dict(), "status": list(STATUS)}


def score(model: CPMN, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The signature ``score``."""
    features = {name: inputs[name] for name in model.streams}
    trace = model.trace(features, inputs["lengths"], inputs["rates"])._asdict()
    trace["grid_lengths"] = trace.pop("lengths")
    return trace


def score_specs(model: CPMN) -> dict[str, tf.TensorSpec]:
    """What :func:`score` takes."""
    specs = inference.input_specs(model.streams)
    del specs["durations"]
    return specs


def _archive(model: CPMN, manifest_file: pathlib.Path) -> keras.export.ExportArchive:
    specs = inference.input_specs(model.streams)
    scores = tf.TensorSpec([None, model.num_classes], tf.float32, name="class_scores")
    examples = tf.TensorSpec([None], tf.string, name="examples")
    # The last is of padding, whose label is -1.
    names = tf.constant([*model.manifest.classes, ""])

    def named(found: Detected) -> dict[str, tf.Tensor]:
        labels = tf.where(found.labels < 0, model.num_classes, found.labels)
        return found._asdict() | {"class_names": tf.gather(names, labels)}

    def detect(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        features = {name: inputs[name] for name in model.streams}
        times = (inputs[name] for name in ("lengths", "rates", "durations"))
        return named(model(features, *times, inputs.get("class_scores")))

    def serialized(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return named(model(*parse_batch(inputs["examples"], model.streams)))

    archive = keras.export.ExportArchive()
    archive.track(model)
    # `track` keeps lookup tables only (Keras 3.15), so the asset goes where they would go.
    archive._tf_trackable.manifest = tf.saved_model.Asset(str(manifest_file))
    archive.add_endpoint("detect", detect, [specs])  # the first is also serving_default
    archive.add_endpoint("detect_with_class_scores", detect, [specs | {"class_scores": scores}])
    archive.add_endpoint("serialized", serialized, [{"examples": examples}])
    archive.add_endpoint("score", functools.partial(score, model), [score_specs(model)])
    return archive


def _publish(written: pathlib.Path, export_dir: pathlib.Path) -> pathlib.Path:
    """Renames to the next free number; a server sees the version only when it is whole."""
    while True:
        versions = [int(path.name) for path in export_dir.iterdir() if path.name.isdigit()]
        target = export_dir / str(max(versions, default=0) + 1)
        try:
            os.rename(written, target)
            return target
        except OSError:
            if not target.exists():
                raise


class Exported:
    """A SavedModel of :func:`export`, called like :class:`~cpmn_tf.models.CPMN`.

    Attributes:
      manifest: what ``model.json`` says.
      streams: width G by stream name.
    """

    def __init__(self, folder: pathlib.Path):
        self.manifest = ModelManifest.load(folder / "assets")
        self.streams = self.manifest.streams
        # Its variables live only as long as the loaded object does.
        self.loaded = tf.saved_model.load(str(folder))
        signatures = self.loaded.signatures
        self._detect = signatures["detect"]
        if set(self._detect.structured_outputs) != {*Detected._fields, "class_names"}:
            raise ValueError("an earlier version exported it")
        self._detect_with_class_scores = signatures["detect_with_class_scores"]

    def __call__(
        self,
        features: Mapping[str, tf.Tensor],
        lengths: tf.Tensor,
        rates: tf.Tensor,
        durations: tf.Tensor,
        class_scores: tf.Tensor | None = None,
    ) -> Detected:
        inputs = dict(features, lengths=lengths, rates=rates, durations=durations)
        if class_scores is None:
            found = self._detect(**inputs)
        else:
            found = self._detect_with_class_scores(**inputs, class_scores=class_scores)
        return Detected(**{name: found[name] for name in Detected._fields})


def load_exported(path: str | os.PathLike) -> Exported:
    """The model of :func:`export` in a version folder, or in the newest of a folder of versions.

    Raises:
      UserError: if there is none, or it is not one of ours.
    """
    folder = pathlib.Path(path)
    if not (folder / GRAPH_FILE).is_file() and folder.is_dir():
        versions = [int(inner.name) for inner in folder.iterdir() if inner.name.isdigit()]
        folder = folder / str(max(versions, default=0))
    if not (folder / GRAPH_FILE).is_file():
        raise UserError(f"{path}: holds no SavedModel; give a folder that cpmn-export made")
    if not (folder / "assets" / FILE).is_file():
        raise UserError(f"{folder}: is a SavedModel, but not one of cpmn-export")
    try:
        return Exported(folder)
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        if isinstance(error, UserError):
            raise
        line = str(error).strip().splitlines()[0][:200]
        raise UserError(f"{folder}: cannot be loaded ({line}); export it anew") from error

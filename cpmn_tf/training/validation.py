"""What TensorBoard is told of whole videos while a module trains: mAP and T-CAS pictures."""

import os

import keras
import numpy as np
import tensorflow as tf

from cpmn_tf import inference, plotting
from cpmn_tf.config import Config, with_overrides
from cpmn_tf.data.manifest import Manifest
from cpmn_tf.data.pipeline import Split
from cpmn_tf.evaluation import evaluate
from cpmn_tf.evaluation.classification import video_map
from cpmn_tf.formats.annotations import Annotations, load_annotations
from cpmn_tf.models import CPMN
from cpmn_tf.training.events import EventWriter


def known_segments(data_dir: str | os.PathLike, split: Split) -> Annotations | None:
    """The annotations of a split's videos, or None if none of them has a segment."""
    annotations = load_annotations(os.path.join(data_dir, "annotations.json"))
    videos = {name: annotations.videos[name] for name in split.lengths}
    if not any(video.instances for video in videos.values()):
        return None
    return Annotations(videos, annotations.classes)


class Validator:
    """Looks at one stream's modules, as far as they are trained.

    Args:
      manifest: of the data set.
      config: all settings.
      stream: its name.
      held_out: videos held out, or None.
      truth: annotations of ``held_out``, or None if segments are not known.
      pictured: the videos to draw, a few or none; training videos are drawn without truth.
      tiou: thresholds of the localization mAP.
    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        config: Config,
        stream: str,
        held_out: Split | None,
        truth: Annotations | None,
        pictured: Split,
        tiou: tuple[float, ...],
    ):
        self._held_out, self._truth, self._tiou = held_out, truth, tiou
        self._pictured = pictured
        self._models = {}
        for module, attention in (("cascade", "false"), ("pyramid", "true")):
            model = CPMN(
                streams={stream: manifest.stream(stream).width},
                num_classes=len(manifest.classes),
                config=with_overrides(config, [f"localization.attention={attention}"]),
            )
            self._models[module] = model
        self._streams = [stream]

    def __call__(
        self, cascade: keras.Model, pyramid: keras.Model | None, events: EventWriter, step: int
    ) -> dict[str, float]:
        """Writes metrics and pictures; returns the metrics.

        Args:
          cascade: as trained so far.
          pyramid: as trained so far, None before its training began.
          events: where to write.
          step: how far they are trained.
        """
        model = self._models["cascade" if pyramid is None else "pyramid"]
        _copy(cascade, model.cascades[self._streams[0]])
        if pyramid is not None:
            _copy(pyramid, model.pyramids[self._streams[0]])
        values = {}
        if self._held_out is not None:
            values = self._metrics(model, self._held_out)
            events.scalars(step, values)
        if self._pictured.lengths:
            self._draw(model, events, step)
        events.flush()
        return values

    def _draw(self, model: CPMN, events: EventWriter, step: int) -> None:
        known, manifest = self._truth is not None, self._pictured.manifest
        for batch in inference.batches(self._pictured, segments=known, streams=self._streams):
            curves = plotting.collect_curves(
                model, batch, manifest.classes, simulated=manifest.simulated
            )
            events.image(step, f"T-CAS/{curves.id}", plotting.render(plotting.figure(curves)))

    def _metrics(self, model: CPMN, held_out: Split) -> dict[str, float]:
        scores, labels = [], []
        for batch in inference.batches(held_out, streams=self._streams):
            trace = model.trace(batch["features"], batch["length"], batch["rate"])
            scores.append(trace.class_scores.numpy())
            labels.append(batch["labels"].numpy())
        values = {"validation/video_mAP": video_map(np.concatenate(scores), np.concatenate(labels))}
        if self._truth is not None:
            videos = inference.batches(held_out, streams=self._streams)
            detections, _ = inference.detect_batches(
                inference.compiled(model), videos, held_out.manifest.classes
            )
            result = evaluate(self._truth, detections, protocol="activitynet", tiou=self._tiou)
            values["validation/localization_mAP_activitynet_average"] = float(result.average_map)
            for tiou, value in zip(result.tiou, result.map, strict=True):
                values[f"validation/localization_mAP_activitynet@{tiou:g}"] = float(value)
        return values


def _copy(source: keras.Model, target: keras.Model) -> None:
    """Copies weights, also from mixed precision's float32 master copies."""
    for ours, theirs in zip(target.variables, source.variables, strict=True):
        ours.assign(tf.cast(theirs, ours.dtype))

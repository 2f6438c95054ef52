"""What TensorBoard is told of whole videos while a module trains: mAP and T-CAS pictures."""

import os
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from cpmn_tf import inference, plotting
from cpmn_tf.config import TIOU, Config, with_settings
from cpmn_tf.data.pipeline import Split
from cpmn_tf.evaluation import evaluate, parse_tiou
from cpmn_tf.evaluation.classification import video_map
from cpmn_tf.formats.annotations import Annotations, load_annotations
from cpmn_tf.models import CPMN
from cpmn_tf.training.events import EventWriter


def known_segments(split: Split) -> Annotations | None:
    """The annotations of a split's videos, or None unless every one of them has its segment."""
    annotations = load_annotations(os.path.join(split.manifest.folder, "annotations.json"))
    videos = {name: annotations.videos[name] for name in split.ids}
    bare = sum(len(video.bare_labels()) for video in videos.values())
    if not any(video.instances for video in videos.values()):
        return None
    if bare:
        print(f"no localization mAP of the videos held out: {bare} annotations have no segment")
        return None
    return Annotations(videos, annotations.classes)


class Validator:
    """Looks at one stream's modules, as far as they are trained.

    Args:
      config: all settings.
      stream: its name.
      training: videos trained on; the first are drawn, without truth, if none are held out.
      held_out: videos held out, or None.
    """

    def __init__(self, *, config: Config, stream: str, training: Split, held_out: Split | None):
        self._held_out, self._stream, self._streams = held_out, stream, stream.split("+")
        self._truth = known_segments(held_out) if held_out else None
        looked_at = held_out or training
        self._pictured = looked_at.first(config.training.pictures)
        self._tiou = parse_tiou(TIOU.get(config.preset, TIOU["thumos14"]))
        manifest = training.manifest
        self._models = {
            attention: CPMN(
                streams={name: manifest.stream(name).width for name in self._streams},
                num_classes=len(manifest.classes),
                config=with_settings(config, {"localization.attention": attention}),
            )
            for attention in (False, True)
            if config.pyramid.levels or not attention
        }

    def __call__(
        self, modules: Mapping[str, keras.Model], events: EventWriter, step: int
    ) -> dict[str, float]:
        """Writes metrics and pictures; returns the metrics.

        Args:
          modules: as trained so far: ``cascade``, and ``pyramid`` once its training began.
          events: where to write.
          step: how far they are trained.
        """
        stream = self._stream
        model = self._models["pyramid" in modules]
        _copy(modules["cascade"], model.cascades[stream])
        if "pyramid" in modules:
            _copy(modules["pyramid"], model.pyramids[stream])
        values = {}
        if self._held_out is not None:
            values = self._metrics(model, self._held_out)
            events.scalars(step, values)
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
                inference.compiled(model),
                videos,
                held_out.manifest.classes,
                problem=lambda *_: None,  # a model that diverged finds nothing, which is its figure
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

"""CPMN: the trained modules of all streams, joined for inference (Fig. 1, Section 3.5)."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import tensorflow as tf

from cpmn_tf.config import Config
from cpmn_tf.data import sampling
from cpmn_tf.errors import UserError
from cpmn_tf.localization import Detected, Trace, detections_of
from cpmn_tf.localization import status as faults
from cpmn_tf.models import fusion
from cpmn_tf.models.cascade import CascadedClassifier, Stage
from cpmn_tf.models.pyramid import PyramidAttention, attention_map
from cpmn_tf.models.timeline import Timeline

if TYPE_CHECKING:
    from cpmn_tf.training.model_folder import ModelManifest

CHUNK_UNITS = 4096  # that ``cascade.inference=every_unit`` convolves at a time

# (T-CAS [rows, samples] of each stage, valid samples [rows, samples]) -> M(Cas) [rows, samples]
Combine = Callable[[Sequence[tf.Tensor], tf.Tensor], tf.Tensor]


@keras.saving.register_keras_serializable(package="cpmn_tf")
class CPMN(keras.Model):
    """The streams' cascades and pyramids, and the localization that fuses them (Fig. 1).

    Args:
      streams: width G by stream name, in order, for example ``{"rgb": 101, "flow": 101}``.
      num_classes: C.
      config: a :class:`~cpmn_tf.config.Config` or its ``to_dict()``.

    Attributes:
      branches: width by the name of what modules there are of: the streams, or all of them joined,
        ``rgb+flow``, by ``data.fusion=early``. They take the streams' place in a trace.
      manifest: what ``model.json`` says, on a model of :func:`~cpmn_tf.load_model` only.

    >>> model = CPMN(streams={"rgb": 8}, num_classes=3, config=Config())
    >>> found = model({"rgb": tf.ones([1, 70, 8])}, lengths=[70], rates=[6.25], durations=[11.2])
    >>> found.counts.shape
    TensorShape([1])
    """

    manifest: "ModelManifest"

    def __init__(
        self, *, streams: dict[str, int], num_classes: int, config: Config | dict, **kwargs: Any
    ):
        # Mixed precision is the modules' own; rates and durations keep their digits.
        super().__init__(autocast=False, **kwargs)
        self.streams = dict(streams)
        self.num_classes = num_classes
        self.config = config if isinstance(config, Config) else Config.from_dict(dict(config))
        if not self.config.cascade.units:
            raise UserError(
                "cascade.units=0 is to be derived from training videos; train a model, or set it"
            )
        self.branches = self.config.branches(self.streams)
        self._chunk = CHUNK_UNITS if self.config.cascade.inference == "every_unit" else 0
        given = {"num_classes": num_classes, "dtype": self.dtype_policy}
        self.cascades = {
            name: CascadedClassifier(config=self.config.cascade, **given) for name in self.branches
        }
        self.pyramids = {
            name: PyramidAttention(config=self.config.pyramid, **given)
            for name in self.branches
            if self.config.pyramid.levels
        }
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Creates all weights; the widths are known from the start."""
        for modules in (self.cascades, self.pyramids):
            for name, module in modules.items():
                module.build((None, None, self.branches[name]))
        self.built = True

    def call(
        self,
        features: dict[str, tf.Tensor],
        lengths: tf.Tensor,
        rates: tf.Tensor,
        durations: tf.Tensor,
        class_scores: tf.Tensor | None = None,
    ) -> Detected:
        """Detects actions in a batch of videos.

        Args:
          features: [batch, units, G] float by stream.
          lengths: [batch] int32, valid units of each video, at least 1.
          rates: [batch] float32, units per second, positive.
          durations: [batch] float32, seconds, positive; segments are clipped to it.
          class_scores: [batch, classes] external class probabilities that replace our own, both
            for selecting classes and as p_class.

        Returns:
          Detections in seconds. A faulty video, such as one with NaN among its features, has none,
          and its ``status`` says why; those of the others are what they are without it.
        """
        return self.detect(self.trace(features, lengths, rates, class_scores), durations)

    def detect(self, trace: Trace, durations: tf.Tensor) -> Detected:
        """The detections of a trace by the model's own settings."""
        return detections_of(trace, durations, self.config.localization)

    def trace(
        self,
        features: dict[str, tf.Tensor],
        lengths: tf.Tensor,
        rates: tf.Tensor,
        class_scores: tf.Tensor | None = None,
        combine: Combine | None = None,
    ) -> Trace:
        """Runs the modules and fuses them (Eq. 3-5 and 7); see ``status`` for faulty videos.

        Args:
          features, lengths, rates, class_scores: as in :meth:`call`.
          combine: what M(Cas) is made of the stages' T-CAS by;
            :func:`~cpmn_tf.models.fusion.cascaded_tcas` by default.
        """
        if combine is None:
            section = self.config.cascade
            combine = functools.partial(
                fusion.cascaded_tcas, method=section.combine, gate=section.mining_gate
            )
        features = {name: tf.convert_to_tensor(features[name]) for name in self.streams}
        features, lengths, rates, status = faults.sound_inputs(
            features, tf.cast(lengths, tf.int32), tf.cast(rates, tf.float32)
        )
        parts = [
            self._first_pass(
                name, Timeline(self.config, sampling.join_streams(features, name), lengths)
            )
            for name in self.branches
        ]
        if class_scores is None:
            scores, fault = tf.add_n([part.scores for part in parts]) / len(parts), faults.OVERFLOW
        else:
            scores, fault = tf.cast(class_scores, tf.float32), faults.CLASS_SCORES
        scores = tf.where((status == 0)[:, tf.newaxis], scores, 0.0)
        status = faults.marked(status, fault, faults.finite(scores))
        fine = (status == 0)[:, tf.newaxis]
        # Without a single row no convolution works: where all are faulty, theirs stay.
        fine |= ~tf.reduce_any(fine)
        selected = fusion.select_classes(scores, self.config.localization) & fine
        rows = tf.cast(tf.where(selected), tf.int32)

        curves = [self._curves(part, selected, rows, combine) for part in parts]
        p_class, original, mining, cascaded, attention = (
            tf.stack(values, axis=1) for values in zip(*curves, strict=True)
        )
        fused = cascaded, attention, self.config.localization
        phi, act = fusion.curve_to_cut(*fused), fusion.curve_to_average(*fused)
        sound = faults.finite(phi) & faults.finite(act) & faults.finite(p_class)
        overflown = tf.math.unsorted_segment_max(
            tf.cast(~sound, tf.float32), rows[:, 0], tf.shape(lengths)[0]
        )
        line = parts[0].line
        spans = tf.cast(lengths, tf.float32) / tf.cast(line.lengths, tf.float32)
        return Trace(
            class_scores=scores,
            rows=rows,
            p_class=tf.reduce_mean(p_class, axis=1)
            if class_scores is None
            else tf.gather_nd(scores, rows),
            original=original,
            mining=mining,
            cascaded=cascaded,
            attention=attention,
            phi=phi,
            act=act,
            lengths=line.lengths,
            unit_seconds=spans / rates,
            status=faults.marked(status, faults.OVERFLOW, overflown < 1),
        )

    def _class_scores(self, logits: tf.Tensor, rows: tf.Tensor | None = None) -> tf.Tensor:
        """Of [batch, classes] logits, all or [rows], as the settings say."""
        as_they_are = self.config.localization.class_score == "logit"
        activation = "none" if as_they_are else self.config.training.loss
        return fusion.class_scores(logits, activation, rows)

    def _first_pass(self, name: str, line: Timeline) -> "_FirstPass":
        """Stage A and the pyramid, which say what classes the video shows."""
        seen = line.samples, line.samples_valid
        stage = self.cascades[name].first_stage(*seen, chunk=self._chunk)
        probabilities, heat = [self._class_scores(stage.logits)], None
        if self.config.localization.attention:
            whole = line.pyramid_input, line.pyramid_lengths
            pyramid, heat = self.pyramids[name].call_on_video(*whole, self._class_scores)
            probabilities.append(pyramid)
        return _FirstPass(name, line, stage, probabilities, heat)

    def _curves(
        self, part: "_FirstPass", selected: tf.Tensor, rows: tf.Tensor, combine: Combine
    ) -> tuple[tf.Tensor, ...]:
        """One stream's p_class [rows], M(A), M(mining), M(Cas) and H, each [rows, grid]."""
        video, line = rows[:, 0], part.line
        probabilities = [tf.gather_nd(values, rows) for values in part.probabilities]
        curves = [_of_rows(part.stage.tcas, rows)]
        for tcas, probability in self._mine(part, selected, rows):
            curves.append(tcas)
            if self.config.localization.p_class == "all":
                probabilities.append(probability)
        mining = tf.reduce_max(tf.stack(curves[1:] or curves), axis=0)
        cascaded = combine(curves, tf.gather(line.samples_valid, video))
        on_grid = [line.from_samples(curve, video) for curve in (curves[0], mining, cascaded)]
        attention = tf.ones_like(on_grid[0])
        if part.heat is not None:
            heat = line.from_pyramid(_of_rows(part.heat, rows), video)
            attention = attention_map(heat, tf.gather(line.valid, video))
        p_class = tf.add_n(probabilities) / len(probabilities)
        return p_class, *on_grid, attention

    def _mine(
        self, part: "_FirstPass", selected: tf.Tensor, rows: tf.Tensor
    ) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """M [rows, samples] and probability [rows] of each mining stage, for each row's class."""
        if not self.config.localization.mining:
            return []
        cascade, method = self.cascades[part.name], self.config.cascade.inference_erasing
        per_class = method == "per_class" and cascade.config.erasing == "adversarial"
        classes = tf.zeros_like(selected) if method == "none" else selected
        seen = part.line.samples, part.line.samples_valid
        stages = cascade.later_stages(*seen, part.stage, classes, per_class, chunk=self._chunk)
        if per_class:  # each row is its own erased copy
            order = tf.range(tf.shape(rows)[0])
            rows = tf.stack([order, rows[:, 1]], axis=1)
        return [
            (_of_rows(stage.tcas, rows), self._class_scores(stage.logits, rows)) for stage in stages
        ]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"streams": self.streams, "num_classes": self.num_classes}
        return {**super().get_config(), **own, "config": self.config.to_dict()}


class _FirstPass(NamedTuple):
    """One stream before classes are selected: stage A, [batch, classes] probabilities, heat."""

    name: str
    line: Timeline
    stage: Stage
    probabilities: list[tf.Tensor]
    heat: tf.Tensor | None

    @property
    def scores(self) -> tf.Tensor:
        return tf.add_n(self.probabilities) / len(self.probabilities)


def _of_rows(curves: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """[batch, units, classes] to [rows, units], each row's video and class."""
    return tf.gather_nd(tf.transpose(curves, [0, 2, 1]), rows)

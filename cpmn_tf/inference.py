"""Running a model over the videos of a split, whether from a model folder or a SavedModel."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from cpmn_tf.data import pipeline
from cpmn_tf.formats.annotations import Detections
from cpmn_tf.localization import Detected
from cpmn_tf.models import CPMN

# (features by stream, lengths, rates, durations, external class scores or None) -> detections
Detect = Callable[..., Detected]


def input_specs(streams: Mapping[str, int]) -> dict[str, tf.TensorSpec]:
    """What a model takes: features [batch, units, G] by stream, lengths, rates, durations."""
    specs = {
        name: tf.TensorSpec([None, None, width], tf.float32, name=name)
        for name, width in streams.items()
    }
    return specs | {
        "lengths": tf.TensorSpec([None], tf.int32, name="lengths"),
        "rates": tf.TensorSpec([None], tf.float32, name="rates"),
        "durations": tf.TensorSpec([None], tf.float32, name="durations"),
    }


def compiled(model: CPMN, with_class_scores: bool = False) -> Detect:
    """The model's call as one graph of free time length."""
    specs = input_specs(model.streams)
    features = {name: specs.pop(name) for name in model.streams}
    signature = [features, *specs.values()]
    if with_class_scores:
        signature.append(tf.TensorSpec([None, model.num_classes], tf.float32))

    @tf.function(input_signature=signature, autograph=False)
    def detect(features, lengths, rates, durations, class_scores=None):
        return model(features, lengths, rates, durations, class_scores)

    return detect


def batches(
    split: pipeline.Split,
    batch_size: int = 1,
    *,
    segments: bool = False,
    streams: Sequence[str] | None = None,
) -> Iterator[dict]:
    """Whole videos with float32 features, as a model takes them.

    Raises:
      UserError: if a record cannot be read.
    """
    dataset = pipeline.whole_videos(
        split, batch_size=batch_size, segments=segments, streams=streams
    )
    for batch in pipeline.readable(dataset, split.manifest, split.name):
        features = {name: tf.cast(value, tf.float32) for name, value in batch["features"].items()}
        yield {**batch, "features": features}


def detect_split(
    detect: Detect,
    split: pipeline.Split,
    *,
    batch_size: int = 1,
    streams: Sequence[str] | None = None,
    class_scores: Mapping[str, np.ndarray] | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> tuple[Detections, int]:
    """Localizes actions in every video of a split.

    Args:
      detect: see :func:`compiled`.
      split: the videos.
      batch_size: videos per call; they are padded to the longest.
      streams: names of the streams that the model takes; all by default.
      class_scores: external [classes] scores by video id.
      progress: called with the videos done and their number.

    Returns:
      Detections of all videos, best first in each, and the number of silent curves (class and
      stream whose T-CAS was nowhere positive).

    Raises:
      UserError: if a record cannot be read.
    """
    videos, rows, silent = [], [], 0
    classes = split.manifest.classes
    for batch in batches(split, batch_size, streams=streams):
        ids = [video_id.decode() for video_id in batch["id"].numpy()]
        arguments = [batch["features"], batch["length"], batch["rate"], batch["duration"]]
        if class_scores is not None:
            arguments.append(tf.constant(np.stack([class_scores[name] for name in ids])))
        found = Detected(*(value.numpy() for value in detect(*arguments)))
        videos += ids
        silent += int(found.silent.sum())
        for index, video_id in enumerate(ids):
            count = found.counts[index]
            rows += [
                (video_id, classes[label], float(start), float(end), float(score))
                for label, (start, end), score in zip(
                    found.labels[index, :count],
                    found.segments[index, :count],
                    found.scores[index, :count],
                    strict=True,
                )
            ]
        progress(len(videos), len(split.lengths))
    return Detections.from_rows(videos, rows), silent

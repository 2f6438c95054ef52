"""Running a model over videos: the front door `localize`, and what it is made of."""

import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from cpmn_tf.data import pipeline, records
from cpmn_tf.errors import Problem, UserError, raise_first
from cpmn_tf.formats.detections import Detections
from cpmn_tf.localization import Detected
from cpmn_tf.localization.status import explain
from cpmn_tf.models import CPMN
from cpmn_tf.models.cpmn import Combine

if TYPE_CHECKING:
    from cpmn_tf.serving.saved_model import Exported

# (features by stream, lengths, rates, durations, external class scores or None) -> detections
Detect = Callable[..., Detected]

VIDEO = "video"  # the id of a video that is given as arrays


def localize(
    model: "CPMN | Exported",
    data: str | os.PathLike | pipeline.Split | Mapping[str, Any],
    *,
    split: str | None = None,
    rate: float | None = None,
    duration: float | None = None,
    class_scores: Any = None,
    batch_size: int = 1,
    report: Callable[[str], None] = lambda _: None,
    problem: Problem = raise_first,
) -> Detections:
    """Localizes actions in the videos of a split, or in one video given as arrays.

    Args:
      model: of :func:`~cpmn_tf.load_model` or
        :func:`~cpmn_tf.serving.saved_model.load_exported`.
      data: a data set's folder, a split of it, or one video's features: [units, G] by stream.
      split: with a folder, its split; the configuration's test split by default.
      rate: with arrays, units per second.
      duration: with arrays, seconds, to which segments are clipped; units / rate by default.
      class_scores: class probabilities of another model, by which classes are selected and scored
        instead of the model's own: [classes] by video id, or with arrays only [classes].
      batch_size: videos per call, at most; those of like length are padded to the longest.
      report: called with lines worth showing.
      problem: called at each video that cannot be localized, such as one with NaN among its
        features. Where it returns, that video has no detections and the others keep theirs.

    Returns:
      Detections, best first in each video; the id of a video given as arrays is ``video``.

    Raises:
      UserError: naming the argument or the record that is wrong.
    """
    videos: Iterable[dict]
    order: Sequence[str] = ()
    if isinstance(data, Mapping):
        if split is not None:
            raise UserError(f"`split={split}` is of a data set; leave it out with arrays")
        videos = [video_batch(data, model.streams, rate, duration)]
        class_scores = None if class_scores is None else {VIDEO: class_scores}
    else:
        if rate is not None or duration is not None:
            raise UserError("`rate` and `duration` are given with arrays; records hold their own")
        if not isinstance(data, pipeline.Split):
            data = pipeline.Split.open(data, split or model.manifest.config.data.test_split)
        model.manifest.check_data(data.manifest)
        videos, order = batches(data, batch_size, streams=list(model.streams)), data.ids
        problem = functools.partial(in_folder, problem, data.manifest.folder)
    detect = compiled(model, class_scores is not None)
    detections, silent = detect_batches(
        detect, videos, model.manifest.classes, class_scores, problem, order
    )
    if silent:
        by_maximum = model.manifest.config.localization.threshold_range == "max"
        what = "nowhere positive" if by_maximum else "constant"
        report(f"{silent} times a class's T-CAS in one stream was {what}: no proposals")
    return detections


def in_folder(
    problem: Problem, folder: str | os.PathLike, kind: str, message: str, video: str = ""
) -> None:
    """Calls ``problem`` with the folder's name before the message."""
    problem(kind, f"{folder}: {message}", video)


def video_batch(
    features: Mapping[str, Any],
    streams: Mapping[str, int],
    rate: float | None,
    duration: float | None,
) -> dict:
    """One video's [units, G] features by stream, checked, as a batch of :func:`batches`."""
    if set(features) != set(streams):
        raise UserError(
            f"features: their streams are {sorted(features)}, the model's are {sorted(streams)}"
        )
    arrays = {
        name: _checked(f"features[{name!r}]", features[name], (None, width))
        for name, width in streams.items()
    }
    lengths = {name: len(values) for name, values in arrays.items()}
    units = next(iter(lengths.values()))
    if set(lengths.values()) != {units} or not units:
        raise UserError(f"features: the streams' units are {lengths}; all need the same, above 0")
    rate = _positive("rate", rate, "units per second")
    duration = _positive("duration", units / rate if duration is None else duration, "seconds")
    return {
        "id": tf.constant([VIDEO]),
        "features": {name: tf.constant(values[np.newaxis]) for name, values in arrays.items()},
        "length": tf.constant([units]),
        "rate": tf.constant([rate]),
        "duration": tf.constant([duration]),
    }


def _checked(what: str, values: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """``values`` as finite float32 of ``shape``, in which None is any size."""
    try:
        with np.errstate(over="ignore"):  # what does not fit float32 is infinite, and refused
            array = np.asarray(values).astype(np.float32, casting="same_kind")
    except (TypeError, ValueError) as error:
        raise UserError(f"{what}: is no array of numbers ({error})") from None
    if len(array.shape) != len(shape) or any(
        want is not None and size != want for size, want in zip(array.shape, shape, strict=True)
    ):
        wanted = ", ".join("units" if size is None else str(size) for size in shape)
        raise UserError(f"{what}: its shape is {list(array.shape)}; it must be [{wanted}]")
    if not np.isfinite(array).all():
        raise UserError(f"{what}: holds values that are NaN, infinite or too large for float32")
    return array


def _positive(name: str, value: float | None, unit: str) -> float:
    if value is None or not (math.isfinite(value) and value > 0):
        raise UserError(f"`{name}={value}`: give a positive number of {unit}")
    return value


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


@functools.lru_cache(maxsize=4)
def compiled(
    model: "CPMN | Exported", with_class_scores: bool = False, combine: Combine | None = None
) -> Detect:
    """The model as one graph of free time length; an exported model is one already.

    Args:
      model: what is run.
      with_class_scores: whether external class scores will be given.
      combine: as of :meth:`CPMN.trace`.
    """
    if not isinstance(model, CPMN):
        return model
    specs = input_specs(model.streams)
    features = {name: specs.pop(name) for name in model.streams}
    signature = [features, *specs.values()]
    if with_class_scores:
        signature.append(tf.TensorSpec([None, model.num_classes], tf.float32))

    @tf.function(input_signature=signature, autograph=False)
    def detect(
        features: Any, lengths: Any, rates: Any, durations: Any, class_scores: Any = None
    ) -> Detected:
        return model.detect(model.trace(features, lengths, rates, class_scores, combine), durations)

    return detect


def batches(
    split: pipeline.Split,
    batch_size: int = 1,
    *,
    segments: bool = False,
    streams: Sequence[str] | None = None,
) -> Iterator[dict]:
    """Those of :func:`~cpmn_tf.data.pipeline.whole_videos` with float32 features, as models take.

    Raises:
      UserError: if a record cannot be read.
    """
    dataset = pipeline.whole_videos(
        split, batch_size=batch_size, segments=segments, streams=streams
    )
    for batch in records.readable(dataset, split.manifest, split.name):
        features = {name: tf.cast(value, tf.float32) for name, value in batch["features"].items()}
        yield {**batch, "features": features}


def detect_batches(
    detect: Detect,
    batches: Iterable[dict],
    classes: Sequence[str],
    class_scores: Mapping[str, Any] | None = None,
    problem: Problem = raise_first,
    order: Sequence[str] = (),
) -> tuple[Detections, int]:
    """Localizes actions in every video of :func:`batches`.

    Args:
      detect: see :func:`compiled`.
      batches: the videos.
      classes: names of the model's classes.
      class_scores: external [classes] scores by video id.
      problem: called at each video with a fault; see :func:`localize`.
      order: ids in the order of the result; as they come by default.

    Returns:
      Detections of all videos, best first in each, and the number of silent curves (class and
      stream whose T-CAS was nowhere positive).

    Raises:
      UserError: if a record cannot be read, or the class scores of a video are missing or wrong.
    """
    rows: dict[str, list[tuple]] = {}  # by video
    silent = 0
    for batch in batches:
        ids = [video_id.decode() for video_id in batch["id"].numpy()]
        arguments = [batch["features"], batch["length"], batch["rate"], batch["duration"]]
        if class_scores is not None:
            scores = [scores_of(name, class_scores, len(classes)) for name in ids]
            arguments.append(tf.constant(np.stack(scores)))
        found = Detected(*(np.asarray(value) for value in detect(*arguments)))
        silent += int(found.silent.sum())
        for index, video_id in enumerate(ids):
            if found.status[index]:
                problem("record", explain(video_id, found.status[index]), video_id)
            count = found.counts[index]
            rows[video_id] = [
                (video_id, classes[label], float(start), float(end), float(score))
                for label, (start, end), score in zip(
                    found.labels[index, :count],
                    found.segments[index, :count],
                    found.scores[index, :count],
                    strict=True,
                )
            ]
    videos = order or list(rows)
    return Detections.from_rows(videos, (row for video in videos for row in rows[video])), silent


def scores_of(video: str, class_scores: Mapping[str, Any], classes: int) -> np.ndarray:
    """One video's external [classes] scores, checked.

    Raises:
      UserError: if there are none, or they are wrong.
    """
    if video not in class_scores:
        raise UserError(f"`class_scores` has none of the video {video!r}; add them")
    return _checked(f"class_scores[{video!r}]", class_scores[video], (classes,))

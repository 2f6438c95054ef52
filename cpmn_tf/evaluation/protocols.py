"""`evaluate`: mAP by a named protocol."""

from collections.abc import Iterable

from cpmn_tf.errors import UserError
from cpmn_tf.evaluation.activitynet import ACTIVITYNET
from cpmn_tf.evaluation.canonical import prepare
from cpmn_tf.evaluation.matching import Matching, Protocol
from cpmn_tf.evaluation.notes import notes
from cpmn_tf.evaluation.precision import plain_average_precision
from cpmn_tf.evaluation.results import Evaluation
from cpmn_tf.evaluation.thumos14 import THUMOS14
from cpmn_tf.formats.annotations import Annotations
from cpmn_tf.formats.detections import Detections

PROTOCOLS = {protocol.name: protocol for protocol in (ACTIVITYNET, THUMOS14)}
DEFAULT_TIOU = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def thresholds(values: Iterable[float]) -> tuple[float, ...]:
    """Checked tIoU thresholds, free of float drift (0.1 · 3 is 0.30000000000000004).

    Raises:
      UserError: if there is none, one is outside (0, 1], or one is given twice.
    """
    result = tuple(round(float(value), 9) for value in values)
    if not result or len(set(result)) < len(result) or not all(0 < value <= 1 for value in result):
        raise UserError(f"`tiou={list(result)}`: give different tIoU thresholds in (0, 1]")
    return result


def parse_tiou(text: str) -> tuple[float, ...]:
    """Thresholds from ``first:step:last`` (both ends included) or a comma list.

    Raises:
      UserError: if the text is neither, or a threshold is outside (0, 1].
    """
    try:
        if ":" not in text:
            return thresholds(float(part) for part in text.split(",") if part.strip())
        first, step, last = map(float, text.split(":"))
        if not (0 < first <= last <= 1 and 1e-4 <= step <= 1):
            raise ValueError
        count = int((last - first) / step + 1e-6) + 1
        return thresholds(first + step * k for k in range(count))
    except ValueError:
        raise UserError(
            f"--tiou={text}: write first:step:last such as 0.1:0.1:0.7, or a comma list, "
            "with different thresholds in (0, 1] and a step of at least 0.0001"
        ) from None


def matched(
    annotations: Annotations,
    detections: Detections,
    protocol: str | Protocol,
    tiou: Iterable[float],
    *,
    order: str = "sorted",
    drop_duplicates: bool = False,
) -> Matching:
    """Which detections are true positives; the arguments are those of :func:`cpmn_tf.evaluate`."""
    if isinstance(protocol, str):
        if protocol not in PROTOCOLS:
            raise UserError(f"the protocol {protocol!r} is not one of {', '.join(PROTOCOLS)}")
        protocol = PROTOCOLS[protocol]
    tiou = thresholds(tiou)
    split = prepare(annotations, detections, order=order, drop_duplicates=drop_duplicates)
    return protocol.match(split, tiou)


def evaluate(
    annotations: Annotations,
    detections: Detections,
    *,
    protocol: str | Protocol,
    tiou: Iterable[float] = DEFAULT_TIOU,
    order: str = "sorted",
    drop_duplicates: bool = False,
) -> Evaluation:
    """mAP of detections by one protocol.

    The order of the input changes nothing: see ``cpmn_tf.evaluation.canonical``. ``notes`` of the
    result say what is worth knowing beside the figure, such as times that may not be seconds.

    Args:
      annotations: the truth of the split to evaluate, such as ``annotations.subset("test")``.
      detections: what is judged; scores may be of any scale. Those in other videos are false
        positives, as in both official evaluators; ``counts`` tells how many.
      protocol: ``activitynet`` or ``thumos14``; their modules state the rules.
      tiou: thresholds in (0, 1].
      order: ``file`` leaves instances, and detections of one score, in the order of the input, as
        the official toolkit does, which then decides.
      drop_duplicates: leave out instances that start and end within 0.01 s of another one of their
        class and video; ``counts`` tells how many, whether or not they are left out.

    Raises:
      UserError: if there is nothing to find, or an argument is out of range.
    """
    return summarize(
        matched(
            annotations, detections, protocol, tiou, order=order, drop_duplicates=drop_duplicates
        )
    )


def summarize(matching: Matching) -> Evaluation:
    """mAP of what was matched."""
    precision = plain_average_precision(matching)
    mean = precision.mean(axis=1)
    return Evaluation(
        protocol=matching.protocol.name,
        tiou=matching.tiou,
        map=mean,
        average_map=float(mean.mean()),
        per_class={name: precision[:, k] for k, name in enumerate(matching.split.classes)},
        counts=matching.split.counts,
        notes=notes(matching.split),
    )

"""What the commands that judge detections share: flags, files, what is printed."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cpmn_tf import config
from cpmn_tf.commands import cli
from cpmn_tf.errors import UserError
from cpmn_tf.evaluation import PROTOCOLS, Evaluation, evaluate, parse_tiou
from cpmn_tf.evaluation.canonical import ORDERS
from cpmn_tf.evaluation.results import Sources, facts, many, note, tables
from cpmn_tf.formats.annotations import Annotations
from cpmn_tf.formats.detection_files import load_detection_file
from cpmn_tf.formats.detections import Detections
from cpmn_tf.formats.thumos_text import digest, load_truth
from cpmn_tf.formats.times import check_seconds

_PRESETLESS_TIOU = "0.1:0.1:0.7"


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a command evaluates: one split's truth, what is judged, thresholds, files and notes.

    ``order`` and ``drop_duplicates`` are those of :func:`cpmn_tf.evaluate`.
    """

    annotations: Annotations
    detections: Detections
    tiou: tuple[float, ...]
    sources: Sources
    notes: Sequence[str] = ()
    order: str = "sorted"
    drop_duplicates: bool = False


def define_flags(values: cli.Flags) -> None:
    """Defines the flags that say what is judged against what."""
    values.string(
        "annotations",
        "The truth: ActivityNet-style JSON, a video also with a list of ambiguous intervals; a "
        ".csv (columns video, start, end, label); or a folder of official THUMOS14 text files "
        "(CLASS_test.txt, Ambiguous_test.txt).",
    )
    values.string(
        "detections",
        "What is judged, times in seconds: .json (ActivityNet's results), .csv (columns video, "
        "start, end, label, score) or .txt (THUMOS: video start end class score).",
    )
    values.choice(
        "preset", config.PRESETS, "Names the default --split and --tiou, and cpmn-analyze's bins."
    )
    values.string(
        "split", "Subset to evaluate (default: the preset's, else the only one there is)."
    )
    values.string(
        "tiou",
        "tIoU thresholds, first:step:last or a comma list (default: the preset's, else "
        f"{_PRESETLESS_TIOU}).",
    )
    values.choice(
        "order",
        ORDERS,
        "Instances, and detections of one score: sorted by their times, or as in the file, as the "
        "official toolkit takes them.",
        default="sorted",
    )
    values.boolean(
        "drop_duplicates",
        "Leave out instances within 0.01 s of another of their class and video.",
    )


def load_inputs(values: cli.Flags) -> Inputs:
    """Reads truth and detections, and settles split and thresholds."""
    cli.require(values, "annotations", "detections")
    tiou = parse_tiou(values.tiou or config.TIOU.get(values.preset, _PRESETLESS_TIOU))
    path, split = values.annotations, values.split
    if split is None and values.preset:
        split = config.preset(values.preset).data.test_split
    chosen, split, notes = load_split(path, split)
    detections = load_judged(values.detections, chosen, path, split)
    sources = Sources(path, digest(path), values.detections, digest(values.detections), split)
    options = (values.order, values.drop_duplicates)
    return Inputs(chosen, detections, tiou, sources, notes, *options)


def load_split(path: str, split: str | None) -> tuple[Annotations, str, list[str]]:
    """The truth of a split, None being the only one there is; the split's name; notes.

    Defects of videos in other splits are a note, for nothing of them is evaluated.
    """
    defects: list[tuple[str, str, str]] = []
    annotations = load_truth(
        path, problem=lambda kind, message, video="": defects.append((kind, message, video))
    )
    if defects and not annotations.videos:
        raise UserError(defects[0][1])
    if split is None:
        subsets = sorted({video.subset for video in annotations.videos.values()})
        if len(subsets) != 1:
            known = ", ".join(subsets) or "none"
            raise UserError(f"{path}: name the subset with --split; there are: {known}")
        split = subsets[0]
    for kind, message, key in defects:
        video = annotations.videos.get(key)
        if kind in ("duplicate", "overlap") or video is None or video.subset == split:
            raise UserError(message)
    try:
        chosen = annotations.subset(split)
        if not any(video.instances for video in chosen.videos.values()):
            raise UserError(f"the subset {split!r} holds no instance with a segment to find")
        chosen.check_segments()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if not defects:
        return chosen, split, []
    text = f"{many(len(defects), 'defect')} in other subsets, which are not evaluated; the first: "
    return chosen, split, [text + defects[0][1]]


def judge(inputs: Inputs, protocol: str) -> list[Evaluation]:
    """mAP by the protocol of that name, or by each one for ``both``."""
    names = PROTOCOLS if protocol == "both" else [protocol]
    return [
        evaluate(
            inputs.annotations,
            inputs.detections,
            protocol=name,
            tiou=inputs.tiou,
            order=inputs.order,
            drop_duplicates=inputs.drop_duplicates,
        )
        for name in names
    ]


def report(inputs: Inputs, results: Sequence[Evaluation]) -> str:
    """What was judged against what, and the tables."""
    lines = [*facts(results[0], inputs.sources), *remarks(inputs)]
    return "\n".join([*lines, "", *tables(results)])


def load_judged(path: str, annotations: Annotations, truth: str, split: str) -> Detections:
    """Reads detections; truth and detections that cannot belong together are an error."""
    classes = annotations.classes
    detections = load_detection_file(path, classes=classes).spelled_as(annotations, path)
    check_seconds(annotations, detections, truth=truth, found=path)
    if len(detections) and not set(detections.classes) & set(classes):
        raise UserError(
            f"{path}: none of its classes ({detections.classes[0]!r}, …) is one of the data set's "
            f"({classes[0]!r}, …); use the annotations' names"
        )
    found = {detections.videos[place] for place in np.unique(detections.video)}
    if found and not found & set(annotations.videos):
        raise UserError(
            f"{path}: its videos are others ({min(found)!r}, …): none belongs to the subset "
            f"{split!r}; give the right --split or --annotations"
        )
    return detections


def remarks(inputs: Inputs) -> list[str]:
    """Notes on entries that were not read, and on classes that the data set does not have."""
    detections = inputs.detections
    counts = np.bincount(detections.label, minlength=len(detections.classes))
    known = set(inputs.annotations.classes)
    texts = [
        f"{many(number, 'detection')} of {name!r}, which is no class of the data set"
        for name, number in zip(detections.classes, counts.tolist(), strict=True)
        if name not in known
    ]
    return [note(text) for text in [*inputs.notes, *texts]]

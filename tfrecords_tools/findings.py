"""What can be wrong with a data set, and how it is told: at once, or all together.

Sources call a :class:`cpmn_tf.errors.Problem` where something is wrong. While records are built
that is :func:`raise_errors`; while data are validated it is :meth:`Findings.add`, and the source
goes on with the next video.
"""

import dataclasses
from typing import Any

from cpmn_tf.errors import SHOWN, Defect

ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of finding: ``title`` is what is wrong, ``fix`` what to do.

    Errors spoil training; notes are no fault.
    """

    level: str
    title: str
    fix: str


# Worst first; this is the listing's order.
_ERRORS = {
    "source": ("the source cannot be read", "fix what the line names"),
    "annotation": ("annotations that cannot be read", "fix the entries"),
    "id": ("ids that cannot name a file", "rename the videos"),
    "duplicate": ("duplicate ids", "keep one of each"),
    "overlap": ("the same video in two splits", "remove it from one: testing on it means nothing"),
    "unreadable": ("features that cannot be read", "copy or encode them anew"),
    "form": ("features that can be read in two ways, or in none", "do what the line names"),
    "missing": ("annotated videos without features", "encode them, or add `skip_missing=True`"),
    "nan": ("NaN or infinite features", "encode the videos anew"),
    "constant": (
        "streams whose units are all the same",
        "encode the videos anew: nothing is in them",
    ),
    "streams": ("streams that records cannot have", "rename them; give every video the same"),
    "width": ("streams of another width", "encode all videos with one model"),
    "length": ("streams of different lengths", "encode the videos anew"),
    "fps": ("videos without frames per second", "give `fps` or `video_info`"),
    "rate": ("units that do not fit the duration", "check `unit_frames`, `fps` and durations"),
    "contradiction": ("files that contradict each other", "correct one of them"),
    "seconds": ("segments whose times cannot be seconds", "write seconds: the line has the factor"),
    "reversed": ("segments that end before they start", "swap or remove them"),
    "label": ("labels that are no class", "add them to the classes or fix them"),
    "class": (
        "classes without a labelled training video",
        "label one, or allow what cannot be learned with `allow_empty_classes=True`",
    ),
}
_WARNINGS = {
    "unlabelled": ("training videos without a label", "they train as showing none of the classes"),
    "few": ("a few videos whose units do not fit the duration", "check these videos"),
    "outside": ("segments outside the video", "training does not see segments; evaluation does"),
    "same": ("videos with the same features in one split", "remove the copies"),
    "zero": ("units that are all zero", "padding? it is learned as if it were content"),
    "trimmed": ("streams of slightly different lengths", "they are trimmed to the shorter"),
    "skipped": ("annotated videos left out, as `skip_missing` says", "encode them"),
    "twice": ("instances given twice", "remove them, or evaluate with `drop_duplicates=True`"),
    "derived": ("fps derived from frames and duration", "add `fps` where that is not right"),
    "kept": (
        "videos whose own fps is not `fps`",
        "theirs counts; `resampled_fps` would go before it",
    ),
    "surplus": ("features without annotations, not used", "annotate or remove them"),
    "empty": (
        "classes that are not learned, as `allow_empty_classes` says",
        "label videos of them",
    ),
    "unsegmented": ("annotations without a segment", "they train; in evaluation they are an error"),
    "note": ("what annotations were taken for", "change them if that is wrong"),
}
_NOTES = {"read": ("how files were read", "see that it is so")}
KINDS = {
    name: Kind(level, *about)
    for level, kinds in ((ERROR, _ERRORS), (WARNING, _WARNINGS), (NOTE, _NOTES))
    for name, about in kinds.items()
}


class Findings:
    """Collects what is wrong; :meth:`add` is the problem handler.

    Attributes:
      found: (video, message) of each finding, by kind.
    """

    def __init__(self) -> None:
        self.found: dict[str, list[tuple[str, str]]] = {}

    def add(self, kind: str, message: str, video: str = "") -> None:
        """Keeps a finding; ``message`` is complete, ``video`` is its id where it has one."""
        self.found.setdefault(kind, []).append((video, message))

    def count(self, level: str) -> int:
        """Number of findings of a level."""
        return sum(len(found) for kind, found in self.found.items() if KINDS[kind].level == level)

    def to_json(self) -> list[dict[str, Any]]:
        """The findings by kind, worst first, every one of them."""
        return [
            {
                "kind": kind,
                **dataclasses.asdict(about),
                "count": len(self.found[kind]),
                "findings": [{"video": video, "message": text} for video, text in self.found[kind]],
            }
            for kind, about in KINDS.items()
            if kind in self.found
        ]

    def to_text(self) -> str:
        """The listing: kinds worst first, with counts and a few examples."""
        lines = []
        for item in self.to_json():
            lines.append(f"{item['level']}: {item['title']}: {item['count']} ({item['fix']})")
            for found in item["findings"][:SHOWN]:
                lines.append(f"    {' '.join(found['message'].split())}")
            if item["count"] > SHOWN:
                lines.append(f"    ... and {item['count'] - SHOWN} more")
        return "\n".join(lines)


def raise_errors(kind: str, message: str, video: str = "") -> None:
    """The problem handler of a build: an error ends it, a warning passes.

    Raises:
      Defect: if the kind is an error.
    """
    if KINDS[kind].level == ERROR:
        raise Defect(kind, message)

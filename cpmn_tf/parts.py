"""Parts of a split's detections, which many processes find, and which are joined.

Part K of N holds those of every N-th video of the split's order, from the K-th on. It is a JSON
file of ``OUTPUT-parts``, written whole or not at all.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import Problem, UserError, raise_first
from cpmn_tf.evaluation.results import many
from cpmn_tf.files import read_json, write_json
from cpmn_tf.formats.detections import Detections, parse_results, results_of
from cpmn_tf.inference import localize, scores_of
from cpmn_tf.models import CPMN
from cpmn_tf.shards import all_parts, check_part, kept_part, made_anew, part_path, shard_of, share
from cpmn_tf.training.model_folder import flatten

if TYPE_CHECKING:
    from cpmn_tf.serving.saved_model import Exported

# What settings that are digests stand for.
DIGESTS = {
    "class_scores": "other class scores",
    "records": "other records",
    "weights": "another model",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalizedPart:
    """What :func:`localize_part` wrote or found; prints as a summary.

    Attributes:
      shard: K/N.
      path: of its file.
      detections: of its videos.
      kept: whether it was there already.

    >>> from cpmn_tf import load_model
    >>> model, split = load_model("model"), Split.open("records", "testing")
    >>> localize_part(model, split, output="found.json", shard="2/5").detections.videos
    ('video_011',)
    """

    shard: str
    path: pathlib.Path
    detections: Detections
    kept: bool

    def __str__(self) -> str:
        found, videos = len(self.detections), many(len(self.detections.videos), "video")
        kept = "was there already and is kept" if self.kept else "is"
        return f"part {self.shard}: {found} detections in {videos}; it {kept} in {self.path}"


def localize_part(
    model: "CPMN | Exported",
    split: Split,
    *,
    output: str | os.PathLike,
    shard: str,
    class_scores: Mapping[str, Any] | None = None,
    batch_size: int = 1,
    overwrite: bool = False,
    report: Callable[[str], None] = lambda _: None,
    problem: Problem = raise_first,
) -> LocalizedPart:
    """Localizes in one part of a split, for :func:`join_parts`; in any process or machine.

    A part that is there already is kept.

    Args:
      model: as of :func:`~cpmn_tf.localize`, like ``batch_size`` and ``report``.
      split: all of its videos.
      output: the file of all detections; parts are in ``OUTPUT-parts`` beside it.
      shard: K/N: every N-th video, from the K-th on.
      class_scores: of another model, [classes] by video id.
      overwrite: whether a part of other settings is replaced.
      problem: called at each video that cannot be localized, when the part with the others is
        there.

    Raises:
      UserError: naming the argument, the record or the part that is wrong.
    """
    path = part_path(output, shard)
    wanted = share(split.ids, shard)
    settings = _settings(model, split, class_scores) | {"shard": shard}
    part = kept_part(path, lambda: _load(path, settings), overwrite)
    kept = part is not None
    if part is None:
        faults: dict[str, tuple[str, str]] = {}
        found = localize(
            model,
            split.only(wanted),
            class_scores=class_scores,
            batch_size=batch_size,
            report=report,
            problem=lambda kind, message, video="": faults.update({video: (kind, message)}),
        )
        write_json(path, {"settings": settings, "results": results_of(found), "faults": faults})
        part = _load(path, settings)
    detections = _all_of([part], wanted, problem)
    return LocalizedPart(shard=shard, path=path, detections=detections, kept=kept)


def join_parts(
    model: "CPMN | Exported",
    split: Split,
    *,
    output: str | os.PathLike,
    class_scores: Mapping[str, Any] | None = None,
    problem: Problem = raise_first,
) -> Detections:
    """The detections of all parts, as one process finds them; the parts stay.

    Args:
      model, split, output, class_scores: those of :func:`localize_part`.
      problem: called at each video that could not be localized.

    Raises:
      UserError: naming the part that is missing, or of another model, data or settings.
    """
    settings = _settings(model, split, class_scores)
    parts = [_load(path, settings | {"shard": shard_of(path)}) for path in all_parts(output)]
    return _all_of(parts, split.ids, problem)


def _all_of(parts: list[dict[str, Any]], ids: Sequence[str], problem: Problem) -> Detections:
    """The parts' detections, videos in the order of ``ids``, which the parts take in turn."""
    results = {}
    for place, video in enumerate(ids):
        part = parts[place % len(parts)]
        results[video] = part["results"][video]
        if video in part["faults"]:
            kind, message = part["faults"][video]
            problem(kind, message, video)
    return parse_results(results, "parts")


def _load(path: pathlib.Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A part, checked."""
    try:
        part = read_json(path)
        theirs = part["settings"]
    except (UserError, LookupError, TypeError):
        raise UserError(f"{path}: part {shard_of(path)} is damaged; {made_anew(path)}") from None
    check_part(path, theirs, settings, DIGESTS)
    return part


def _settings(
    model: "CPMN | Exported", split: Split, class_scores: Mapping[str, Any] | None
) -> dict[str, Any]:
    """All that the detections depend on, but for rounding."""
    ids = split.ids
    weights = model.weights if isinstance(model, CPMN) else model.loaded.variables
    classes = len(model.manifest.classes)
    scores = class_scores and [scores_of(key, class_scores, classes) for key in ids]
    return {
        "split": split.name,
        "records": _digest(split.manifest.fingerprint(split.name), *ids),
        "streams": list(model.streams),
        "weights": _digest(*(np.asarray(value) for value in weights)),
        "class_scores": scores and _digest(*scores),
        **flatten(model.manifest.config.to_dict()),
    }


def _digest(*values: Any) -> str:
    sha256 = hashlib.sha256()
    for value in values:
        sha256.update(value.encode() + b"\n" if isinstance(value, str) else value.tobytes())
    return sha256.hexdigest()

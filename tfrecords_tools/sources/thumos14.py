"""THUMOS14's official annotations, a folder of text files per subset, with features in folders.

``CLASS_val.txt`` and ``CLASS_test.txt`` name the subsets ``validation`` and ``test``; intervals of
``Ambiguous_*.txt`` are kept apart and are no instances. The text files say neither frames per
second nor durations: ``fps`` and ``video_info`` do.
"""

from typing import Any

from cpmn_tf.errors import Problem, UserError
from cpmn_tf.formats.annotations import database_entry
from cpmn_tf.formats.thumos_text import load_official
from tfrecords_tools.sources import SourceSettings
from tfrecords_tools.sources.folders import OPTIONAL, REQUIRED, FoldersSource

__all__ = ["OPTIONAL", "REQUIRED", "open_source", "read_folders"]


def read_folders(paths: str, problem: Problem) -> dict[str, Any]:
    """Raw annotations from folders of official text files.

    Args:
      paths: folders separated by commas, such as that of the validation and that of the test set.
      problem: called at each defect, such as a video that two folders annotate.

    Raises:
      UserError: naming the folder, if it cannot be read.
    """
    database: dict[str, Any] = {}
    classes: set[str] = set()
    for path in paths.split(","):
        known = load_official(path.strip(), problem=problem)
        classes |= set(known.classes)
        for key, video in known.videos.items():
            if key in database:
                kind = "duplicate" if video.subset == database[key]["subset"] else "overlap"
                problem(kind, f"{path}: video {key!r} is in another folder too; remove one", key)
            database[key] = database_entry(video)
    if not database:
        raise UserError(f"{paths}: annotates no video; check `annotations`")
    return {"database": database, "classes": sorted(classes)}


def open_source(settings: SourceSettings, problem: Problem) -> FoldersSource:
    """Opens the source; ``settings.annotations`` are folders separated by commas."""
    raw = read_folders(str(settings.annotations), problem)
    return FoldersSource(settings, problem, raw=raw, name="thumos14")

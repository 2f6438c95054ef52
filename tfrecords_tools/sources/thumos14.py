"""THUMOS14's official annotations, a folder of text files per subset, with features in folders.

``CLASS_val.txt`` and ``CLASS_test.txt`` name the subsets ``validation`` and ``test``; intervals of
``Ambiguous_*.txt`` are kept apart and are no instances. The text files say neither frames per
second nor durations: --fps and --video_info do.
"""

from collections.abc import Mapping
from typing import Any

from absl import flags

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import Video
from cpmn_tf.formats.thumos_text import load_official
from tfrecords_tools.findings import STRICT, Findings
from tfrecords_tools.reading.databases import checked_ids, intervals
from tfrecords_tools.sources.folders import FoldersSource, options


def read_folders(paths: str, findings: Findings) -> dict[str, Any]:
    """Raw annotations from folders of official text files.

    Args:
      paths: folders separated by commas, such as that of the validation and that of the test set.
      findings: where videos go that two folders annotate.

    Raises:
      UserError: naming the file, the line and the mend.
    """
    database: dict[str, Any] = {}
    classes: set[str] = set()
    for path in paths.split(","):
        known = load_official(path.strip(), catching=lambda: intervals(findings))
        classes |= set(known.classes)
        for key, video in checked_ids(path, dict(known.videos), findings).items():
            if key in database:
                kind = "duplicate" if video.subset == database[key]["subset"] else "overlap"
                findings.add(kind, f"{path}: video {key!r} is in another folder too", key)
            database[key] = _entry(video)
    if not database:
        raise UserError(f"{paths}: annotates no video; check --annotations")
    return {"database": database, "classes": sorted(classes)}


def _entry(video: Video) -> Mapping[str, Any]:
    return {
        "subset": video.subset,
        "annotations": [
            {"label": item.label, "segment": [item.start, item.end]} for item in video.instances
        ],
        "ambiguous": [list(interval) for interval in video.ambiguous],
    }


def open_source(values: flags.FlagValues, findings: Findings = STRICT) -> FoldersSource:
    """Opens the source as the flags say.

    Raises:
      UserError: if a flag is missing or a file is broken; names the file and the line.
    """
    given = options(values, "thumos14")
    raw = read_folders(given["annotations"], findings)
    return FoldersSource(**given, raw=raw, name="thumos14", findings=findings)

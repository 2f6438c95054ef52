"""The official THUMOS14 annotations: a folder of text files, one per class.

`CLASS_test.txt` or `CLASS_val.txt` holds a line ``video start end`` (seconds) per instance,
`Ambiguous_test.txt` the intervals that the protocol leaves out, and `detclasslist.txt` a line
``number class`` per class. Imports no TensorFlow.
"""

import hashlib
import os
import pathlib

from cpmn_tf.errors import Problem, UserError, raise_first, reported
from cpmn_tf.files import file_sha256
from cpmn_tf.formats.annotations import (
    Annotations,
    Instance,
    Video,
    load_annotations,
    parse_segment,
)
from cpmn_tf.formats.names import is_ambiguous, nfc
from cpmn_tf.formats.tables import filled_lines

# The toolkit's class numbers: places in UCF101's list, as detclasslist.txt has them.
CLASS_NUMBERS = {
    7: "BaseballPitch",
    9: "BasketballDunk",
    12: "Billiards",
    21: "CleanAndJerk",
    22: "CliffDiving",
    23: "CricketBowling",
    24: "CricketShot",
    26: "Diving",
    31: "FrisbeeCatch",
    33: "GolfSwing",
    36: "HammerThrow",
    40: "HighJump",
    45: "JavelinThrow",
    51: "LongJump",
    68: "PoleVault",
    79: "Shotput",
    85: "SoccerPenalty",
    92: "TennisSwing",
    93: "ThrowDiscus",
    97: "VolleyballSpiking",
}

_SUBSETS = {"test": "test", "val": "validation"}


def load_truth(path: str | os.PathLike, *, problem: Problem = raise_first) -> Annotations:
    """Annotations from ActivityNet-style JSON, or from a folder of official text files.

    Raises:
      UserError: naming the file and the fix.
    """
    load = load_official if os.path.isdir(path) else load_annotations
    return load(path, problem=problem)


def load_official(folder: str | os.PathLike, *, problem: Problem = raise_first) -> Annotations:
    """Reads the official text files of one folder.

    Classes are those of the files, sorted. Every video that a file names is there, also one that
    only has ambiguous intervals: with it the test set has its 213 videos.

    Args:
      folder: of the text files.
      problem: called at each defect; reading goes on with the next line if it returns.

    Raises:
      UserError: if the folder holds no class file, or one that cannot be read.
    """
    spans: dict[str, list[Instance]] = {}
    subsets: dict[str, str] = {}
    spelling: dict[str, str] = {}
    files = _class_files(folder)
    for path, name, subset in files:
        for written, start, end in _intervals(path, problem):
            video = spelling.setdefault(nfc(written), written)
            if subsets.setdefault(video, subset) != subset:
                text = f"{path}: video {video!r} is in another subset too; remove one"
                problem("overlap", text, video)
            else:
                spans.setdefault(video, []).append(Instance(start, end, name))
    videos = {}
    for video, subset in sorted(subsets.items()):
        instances = tuple(item for item in spans[video] if not is_ambiguous(item.label))
        labels = tuple(dict.fromkeys(item.label for item in instances))
        ambiguous = [(item.start, item.end) for item in spans[video] if is_ambiguous(item.label)]
        videos[video] = Video(video, subset, labels, instances, tuple(ambiguous))
    classes = {name for _, name, _ in files if not is_ambiguous(name)}
    return Annotations(videos, tuple(sorted(classes)))


def digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file; of a folder, that of its text files' names and digests.

    A folder's is what ``sha256sum *.txt | sha256sum`` prints inside it (in the C locale).

    Raises:
      UserError: if a file cannot be read.
    """
    if os.path.isdir(path):
        files = sorted(pathlib.Path(path).glob("*.txt"))
        text = "".join(f"{digest(file)}  {file.name}\n" for file in files)
        return hashlib.sha256(text.encode()).hexdigest()
    return file_sha256(path)


def _class_files(folder: str | os.PathLike) -> list[tuple[pathlib.Path, str, str]]:
    """(path, class, subset) of the folder's class files, in the order of their names."""
    found = []
    for path in sorted(pathlib.Path(folder).glob("[!.]*.txt")):  # macOS adds ._NAME.txt
        name, _, suffix = path.stem.rpartition("_")
        if name and suffix in _SUBSETS:
            found.append((path, name, _SUBSETS[suffix]))
    if all(is_ambiguous(name) for _, name, _ in found):
        text = f"{folder}: holds no class file; give a folder of CLASS_test.txt or CLASS_val.txt"
        raise UserError(text)
    return found


def _intervals(path: pathlib.Path, problem: Problem) -> list[tuple[str, float, float]]:
    rows = []
    for place, line in filled_lines(path):
        fields = line.split()
        with reported(problem, "annotation", fields[0]):
            if len(fields) != 3:
                raise UserError(f"{place}: has {len(fields)} fields; write: video start end")
            start, end = parse_segment(fields[1:], f"{place}: the segment")
            rows.append((fields[0], start, end))
    return rows

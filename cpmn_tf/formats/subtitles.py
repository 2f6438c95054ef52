"""Detections as subtitles, WebVTT and SubRip (SRT): a cue per detection, its class and score.

Cues may overlap; players show them together. Imports no TensorFlow. Times are seconds.
"""

import os
import pathlib
from collections.abc import Iterable

from cpmn_tf.errors import UserError
from cpmn_tf.files import write_text
from cpmn_tf.formats.detections import Detections

Found = tuple[str, float, float, float]  # label, start, end, score


def webvtt(found: Iterable[Found]) -> str:
    """The text of a WebVTT file.

    >>> print(webvtt([("Jump & run", 3.0, 9.5, 0.87)]))
    WEBVTT
    <BLANKLINE>
    00:00:03.000 --> 00:00:09.500
    Jump &amp; run 0.87
    <BLANKLINE>
    """
    cues = []
    for start, end, text in _cues(found):
        for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(sign, entity)
        cues.append(f"\n{_clock(start, '.')} --> {_clock(end, '.')}\n{text}\n")
    return "WEBVTT\n" + "".join(cues)


def srt(found: Iterable[Found]) -> str:
    """The text of an SRT file.

    It has no escapes, and players take ``<…>`` for tags: ``‹`` and ``›`` are written instead.

    >>> print(srt([("Jump & run", 3.0, 9.5, 0.87)]))
    1
    00:00:03,000 --> 00:00:09,500
    Jump & run 0.87
    <BLANKLINE>
    """
    cues = []
    for number, (start, end, text) in enumerate(_cues(found), start=1):
        text = text.replace("<", "‹").replace(">", "›")
        cues.append(f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text}\n")
    return "\n".join(cues)


SUBTITLES = {".vtt": webvtt, ".srt": srt}


def save_subtitles(path: str | os.PathLike, detections: Detections) -> None:
    """Writes one video's detections as its subtitles, `.vtt` or `.srt` by the file's suffix.

    Raises:
      UserError: naming the file, if its suffix is another, or the detections are of several videos.
    """
    text = SUBTITLES.get(pathlib.Path(path).suffix.lower())
    if text is None:
        raise UserError(
            f"{path}: subtitles are .vtt (WebVTT) or .srt; rename the file by its format"
        )
    if len(detections.videos) != 1:
        several = f"is for one video, and the detections are of {len(detections.videos)}"
        raise UserError(f"{path}: {several}; give a folder, for a file per video")
    ((_, found),) = detections.by_video()
    write_text(path, text(found))


def _cues(found: Iterable[Found]) -> list[tuple[int, int, str]]:
    """(start, end, text) of each cue, milliseconds; by start, as WebVTT demands.

    No cue is empty after rounding, and no line is: one would end the cue.
    """
    cues = []
    for label, start, end, score in found:
        begin = max(round(1000 * start), 0)
        stop = max(round(1000 * end), begin + 1)
        cues.append((begin, stop, f"{' '.join(label.split())} {score:.2f}".strip()))
    return sorted(cues)


def _clock(time: int, point: str) -> str:
    """HH:MM:SS.mmm of milliseconds, with as many digits of hours as there are."""
    seconds, milliseconds = divmod(time, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"

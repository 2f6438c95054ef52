"""Subtitles: what players need of times and texts, and what an independent parser reads back."""

import html

import pytest

from cpmn_tf.errors import UserError
from cpmn_tf.formats.detections import Detections
from cpmn_tf.formats.subtitles import SUBTITLES, save_subtitles, srt, webvtt

FOUND = [  # given out of order; two overlap
    ("Tea & cake", 12.0, 15.25, 0.5),
    ("Jump", 3.0, 9.5, 0.875),
    ("a <b> --> c", 4.0005, 5.0, 1.0),
]


def test_webvtt_as_written():
    assert webvtt(FOUND) == (
        "WEBVTT\n"
        "\n00:00:03.000 --> 00:00:09.500\nJump 0.88\n"
        "\n00:00:04.000 --> 00:00:05.000\na &lt;b&gt; --&gt; c 1.00\n"
        "\n00:00:12.000 --> 00:00:15.250\nTea &amp; cake 0.50\n"
    )


def test_srt_as_written():
    assert srt(FOUND) == (
        "1\n00:00:03,000 --> 00:00:09,500\nJump 0.88\n"
        "\n2\n00:00:04,000 --> 00:00:05,000\na ‹b› --› c 1.00\n"
        "\n3\n00:00:12,000 --> 00:00:15,250\nTea & cake 0.50\n"
    )


@pytest.mark.parametrize("write", [webvtt, srt])
@pytest.mark.parametrize(
    "start, end, shown",
    [
        (1.0001, 1.0003, "00:00:01.000 --> 00:00:01.001"),  # both round to 1000 ms
        (59.9996, 60.2, "00:01:00.000 --> 00:01:00.200"),  # never 60 seconds
        (-0.25, 0.5, "00:00:00.000 --> 00:00:00.500"),
        (360_000.0, 363_661.5, "100:00:00.000 --> 101:01:01.500"),  # 100 h; + 1 h 1 min 1.5 s
    ],
)
def test_times(write, start, end, shown):
    shown = shown if write is webvtt else shown.replace(".", ",")
    assert shown in write([("a", start, end, 0.5)]).splitlines()


@pytest.mark.parametrize("write", [webvtt, srt])
def test_a_label_stays_on_one_line(write):
    """A line break followed by another ends a cue; the rest would be read as a time."""
    text = write([("two\n\nlines\r\u2028more", 0.0, 1.0, 0.5)])
    assert "two lines more 0.50" in text.splitlines()


@pytest.mark.parametrize("suffix", [".vtt", ".srt"])
def test_an_independent_parser_reads_them(tmp_path, suffix):
    parser = pytest.importorskip("webvtt")
    detections = Detections.from_rows(["v"], [("v", *row) for row in FOUND])
    path = tmp_path / f"v{suffix}"
    save_subtitles(path, detections)
    captions = list(parser.read(path) if suffix == ".vtt" else parser.from_srt(path))
    assert [(caption.start, caption.end) for caption in captions] == [
        ("00:00:03.000", "00:00:09.500"),
        ("00:00:04.000", "00:00:05.000"),
        ("00:00:12.000", "00:00:15.250"),
    ]
    texts = [caption.text for caption in captions]  # as they are written
    if suffix == ".vtt":
        texts = [html.unescape(text) for text in texts]
    shown = "a <b> --> c 1.00" if suffix == ".vtt" else "a ‹b› --› c 1.00"
    assert texts == ["Jump 0.88", shown, "Tea & cake 0.50"]


def test_files_are_of_one_video(tmp_path):
    rows = [("a", "x", 0.0, 1.0, 0.5), ("b", "x", 0.0, 1.0, 0.5)]
    with pytest.raises(
        UserError, match=r"found\.vtt: is for one video, and the detections are of 2"
    ):
        save_subtitles(tmp_path / "found.vtt", Detections.from_rows((), rows))
    with pytest.raises(UserError, match=r"found\.ass: subtitles are \.vtt"):
        save_subtitles(tmp_path / "found.ass", Detections.from_rows((), rows[:1]))
    assert not list(tmp_path.iterdir())


def test_nothing_found_is_a_file_without_cues(tmp_path):
    save_subtitles(tmp_path / "a.VTT", Detections.from_rows(["a"], []))
    assert (tmp_path / "a.VTT").read_text() == "WEBVTT\n"
    assert SUBTITLES[".srt"]([]) == ""

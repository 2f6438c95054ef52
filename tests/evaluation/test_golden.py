"""Published detections give the known figures, to the printed digit, from the files."""

import json

import pytest

from cpmn_tf.commands.evaluate import main
from cpmn_tf.evaluation import evaluate
from cpmn_tf.formats.annotations import load_annotations
from cpmn_tf.formats.detections import Detections, load_detections
from cpmn_tf.formats.thumos_text import CLASS_NUMBERS, digest, load_truth


def printed(result):
    return " ".join(f"{100 * value:.2f}" for value in result.map)


def test_stpn_by_activitynet(thumos14):
    result = evaluate(
        load_annotations(thumos14 / "stpn_groundtruth_210.json"),
        load_detections(thumos14 / "stpn_detections.json"),
        protocol="activitynet",
    )
    assert result.tiou == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    assert printed(result) == "52.12 44.20 34.70 26.06 17.70 10.09 4.99"
    assert (result.counts.videos, result.counts.instances) == (210, 3311)


@pytest.mark.parametrize("source", ["thumos14.json", "test_annotations"])
def test_stpn_by_thumos14(thumos14, source):
    result = evaluate(
        load_truth(thumos14 / source).subset("test"),
        load_detections(thumos14 / "stpn_detections.json"),
        protocol="thumos14",
    )
    assert printed(result) == "46.57 40.29 32.45 25.04 17.16 9.73 4.76"
    counts = result.counts
    assert (counts.videos, counts.instances, counts.ambiguous_intervals) == (213, 3358, 99)
    assert counts.videos_without_detections == 4


@pytest.mark.parametrize("protocol", ["activitynet", "thumos14"])
def test_official_truth_as_detections_gives_one(thumos14, protocol):
    truth = load_truth(thumos14 / "test_annotations")
    rows = [
        (video.id, item.label, item.start, item.end, 1.0)
        for video in truth.videos.values()
        for item in video.instances
    ]
    found = Detections.from_rows((), rows)
    result = evaluate(truth, found, protocol=protocol, tiou=(0.1, 0.5, 0.99))
    assert result.map.tolist() == [1.0, 1.0, 1.0]


def test_both_protocols_side_by_side_from_official_files(thumos14, tmp_path, capsys):
    """cpmn-evaluate on the official annotations and the toolkit's text format of detections."""
    numbers = {name: number for number, name in CLASS_NUMBERS.items()}
    results = json.loads((thumos14 / "stpn_detections.json").read_text())["results"]
    lines = [
        f"{video}.mp4 {item['segment'][0]!r} {item['segment'][1]!r} {numbers[item['label']]} "
        f"{item['score']!r}\n"
        for video, items in results.items()
        for item in items
    ]
    (tmp_path / "stpn.txt").write_text("".join(lines))
    annotations = thumos14 / "test_annotations"
    flags = [f"--annotations={annotations}", f"--detections={tmp_path / 'stpn.txt'}"]
    assert main([*flags, "--protocol=both"]) == 0
    shown = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line}
    assert rows["thumos14"][:7] == ["46.57", "40.29", "32.45", "25.04", "17.16", "9.73", "4.76"]
    assert rows["activitynet"][:2] == ["51.44", "43.61"]  # three more videos than the 210
    for text in (digest(annotations), "213 videos, 3358 instances", "4 videos without detections"):
        assert text in shown

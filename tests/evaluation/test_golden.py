"""Published detections give the known figures, to the printed digit, from the files."""

import pathlib

import pytest

from cpmn_tf.data.annotations import load_annotations, load_detections
from cpmn_tf.data.thumos_files import load_truth
from cpmn_tf.evaluation import evaluate

# The data is given beside the repository, not in it.
THUMOS14 = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "thumos14"

pytestmark = pytest.mark.skipif(not THUMOS14.is_dir(), reason=f"{THUMOS14} is not there")


def printed(result):
    return " ".join(f"{100 * value:.2f}" for value in result.map)


def test_stpn_by_activitynet():
    result = evaluate(
        load_annotations(THUMOS14 / "stpn_groundtruth_210.json"),
        load_detections(THUMOS14 / "stpn_detections.json"),
        protocol="activitynet",
    )
    assert result.tiou == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    assert printed(result) == "52.12 44.20 34.70 26.06 17.70 10.09 4.99"
    assert (result.counts.videos, result.counts.instances) == (210, 3311)


@pytest.mark.parametrize("source", ["thumos14.json", "test_annotations"])
def test_stpn_by_thumos14(source):
    result = evaluate(
        load_truth(THUMOS14 / source),
        load_detections(THUMOS14 / "stpn_detections.json"),
        protocol="thumos14",
        subset="test",
    )
    assert printed(result) == "46.57 40.29 32.45 25.04 17.16 9.73 4.76"
    counts = result.counts
    assert (counts.videos, counts.instances, counts.ambiguous_intervals) == (213, 3358, 99)
    assert counts.videos_without_detections == 4

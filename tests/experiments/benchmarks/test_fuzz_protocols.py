"""Both protocols equal the toolkits' loops on 1,000 drawn splits; a wrong rule would show."""

import collections
import dataclasses

import numpy as np
import pytest

from cpmn_tf.evaluation import PROTOCOLS
from cpmn_tf.evaluation.activitynet import ACTIVITYNET
from cpmn_tf.evaluation.matching import by_preference
from cpmn_tf.evaluation.thumos14 import THUMOS14
from experiments.benchmarks.fuzz_protocols import check


def later_first(_, pairs):
    """What ActivityNet does among up to 16 instances."""
    return pairs.take(by_preference(pairs.detection, pairs.tiou, -pairs.instance))


def test_1000_seeds():
    kinds = collections.Counter(map(check, range(1000)))
    assert kinds["some found"] > 550 and kinds["nothing to find"] > 50


@pytest.mark.parametrize(
    "wrong",
    [
        dataclasses.replace(ACTIVITYNET, reaches=np.greater),
        dataclasses.replace(ACTIVITYNET, order=lambda _, pairs: pairs),
        dataclasses.replace(ACTIVITYNET, order=later_first),
        dataclasses.replace(ACTIVITYNET, overlap=THUMOS14.overlap),
        dataclasses.replace(ACTIVITYNET, interpolated=False),
        dataclasses.replace(ACTIVITYNET, excuses=True),
        dataclasses.replace(THUMOS14, reaches=np.greater_equal),
        dataclasses.replace(THUMOS14, overlap=ACTIVITYNET.overlap),
        dataclasses.replace(THUMOS14, excuses=False),
        dataclasses.replace(THUMOS14, interpolated=True),
    ],
)
def test_a_wrong_rule_shows(wrong, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, wrong.name, wrong)
    with pytest.raises(AssertionError, match=f"{wrong.name}, .* tIoU"):
        for seed in range(300):
            check(seed)

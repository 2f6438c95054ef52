"""The models in PyTorch are the same models: equal losses, with padding too."""

import dataclasses
import io
import pickle

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("torch", reason="the extra [benchmark] is not installed")

from cpmn_tf.config import preset, with_settings
from experiments.benchmarks import torch_models, training


@pytest.mark.parametrize("module", ["cascade", "pyramid"])
def test_losses_of_three_steps_are_equal(module):
    settings = {"cascade.filters": 8, "pyramid.filters": 8, "training.learning_rate": 0.01}
    config = with_settings(preset("thumos14"), settings)
    step, model = training.make(module, config)
    batch = training.make_batch(4, 16)
    batch["valid"][1, 11:] = False
    batch["features"][1, 11:] = 0
    task = torch_models.Task(
        module=module,
        weights=[variable.numpy() for variable in model.trainable_variables],
        **batch,
        threshold=0.4,
        l2=getattr(config.training, f"{module}_l2"),
        rate=0.01,
    )
    requests, answers = io.BytesIO(), io.BytesIO()
    pickle.dump(dataclasses.asdict(task), requests)
    for _ in range(3):
        pickle.dump(("float32", 1), requests)
    requests.seek(0)
    torch_models.serve(requests, answers)
    answers.seek(0)
    theirs = [pickle.load(answers)[-1] for _ in range(3)]
    given = {name: tf.constant(values) for name, values in batch.items()}
    ours = [float(step(given, tf.constant(0, tf.int64))[0]) for _ in range(3)]
    np.testing.assert_allclose(theirs, ours, rtol=1e-4)
    assert len(set(ours)) == 3

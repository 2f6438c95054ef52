"""The cascade and the pyramid in plain PyTorch, as a researcher would write them, to be timed.

They compute what `cpmn_tf` does with the settings of `thumos14`: two classifiers with adversarial
erasing between them, and the pyramid with top-down connections; cross-entropy summed over classes,
and Adam, whose weight decay has the gradient of λ·Σ½w².

As a program it is what `training` starts with ``--torch``: it has no TensorFlow, whose threads and
PyTorch's would get into each other's way. Needs the extra [benchmark].
"""

import dataclasses
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from typing import IO

import numpy as np
import torch
from torch import nn
from torch.nn import functional

EPSILON = 1e-7  # Keras' of Adam


@dataclasses.dataclass(frozen=True)
class Task:
    """What is trained, on which batch.

    Attributes:
      module: ``cascade`` or ``pyramid``.
      weights: of the Keras model, in its order.
      features: [batch, units, G] float16.
      valid: [batch, units] bool.
      labels: [batch, C] float32 in {0, 1}.
      threshold: ζ.
      l2: λ.
      rate: Adam's.
    """

    module: str
    weights: Sequence[np.ndarray]
    features: np.ndarray
    valid: np.ndarray
    labels: np.ndarray
    threshold: float
    l2: float
    rate: float


class Classifier(nn.Module):
    """One stage: two temporal convolutions, global average pooling, a linear classifier."""

    def __init__(self, width: int, filters: int, classes: int):
        super().__init__()
        self.first = nn.Conv1d(width, filters, 3, padding=1)
        self.second = nn.Conv1d(filters, filters, 3, padding=1)
        self.classifier = nn.Linear(filters, classes)

    def encode(self, features: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Z: [batch, units, width] -> [batch, units, filters]."""
        inside = valid[:, None].to(features.dtype)
        encoded = features.transpose(1, 2)
        for layer in (self.first, self.second):
            encoded = functional.relu(layer(encoded * inside))
        return encoded.transpose(1, 2)

    def scores(self, encoded: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Eq. 1: [batch, classes]."""
        weight = valid[..., None].float()
        return self.classifier((encoded * weight).sum(1) / weight.sum(1))

    def tcas(self, encoded: torch.Tensor) -> torch.Tensor:
        """Eq. 2: [batch, units, classes]."""
        return functional.linear(encoded, self.classifier.weight)


class Cascade(nn.Module):
    """Two stages; the second sees what the first did not find (Algorithm 1)."""

    def __init__(self, width: int, filters: int, classes: int, threshold: float):
        super().__init__()
        self.stages = nn.ModuleList(Classifier(width, filters, classes) for _ in range(2))
        self.threshold = threshold

    def forward(
        self, features: torch.Tensor, valid: torch.Tensor, labels: torch.Tensor
    ) -> list[torch.Tensor]:
        """Logits of both stages."""
        first, second = self.stages
        encoded = first.encode(features, valid)
        found = self.mask(first.tcas(encoded).detach().float(), valid, labels)
        left = features.masked_fill(found[..., None], 0)
        return [first.scores(encoded, valid), second.scores(second.encode(left, valid), valid)]

    def mask(self, tcas: torch.Tensor, valid: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """[batch, units] bool: where a labelled class is above ζ on its way from min to max."""
        outside = ~valid[..., None]
        low = tcas.masked_fill(outside, torch.inf).amin(1, keepdim=True)
        high = tcas.masked_fill(outside, -torch.inf).amax(1, keepdim=True)
        found = (tcas - low) / (high - low) > self.threshold
        return (found & (labels > 0)[:, None]).any(2) & valid


class Pyramid(nn.Module):
    """Four levels with top-down connections (Fig. 3)."""

    def __init__(self, width: int, filters: int, classes: int, levels: int = 4):
        super().__init__()
        self.encoders = nn.ModuleList(nn.Conv1d(width, filters, 1) for _ in range(levels))
        self.predictors = nn.ModuleList(nn.Conv1d(filters, classes, 1) for _ in range(levels))

    def forward(
        self, features: torch.Tensor, valid: torch.Tensor, labels: torch.Tensor
    ) -> list[torch.Tensor]:
        """Logits of a window, the mean over the levels."""
        levels, masks = [features.transpose(1, 2)], [valid[:, None].float()]
        for _ in self.encoders[1:]:
            # Padding enters no maximum; a unit without any valid one is 0.
            inside = levels[-1].masked_fill(masks[-1] == 0, -torch.inf)
            masks.append(functional.max_pool1d(masks[-1], 2))
            pooled = functional.max_pool1d(inside, 2)
            levels.append(pooled.masked_fill(masks[-1] == 0, 0))
        encoded = [
            functional.relu(encoder(level))
            for encoder, level in zip(self.encoders, levels, strict=True)
        ]
        for level in reversed(range(len(encoded) - 1)):
            above = functional.interpolate(encoded[level + 1], scale_factor=2)
            encoded[level] = encoded[level] + above
        maps = [layer(level) for layer, level in zip(self.predictors, encoded, strict=True)]
        means = [(one * mask).sum(2) / mask.sum(2) for one, mask in zip(maps, masks, strict=True)]
        return [sum(means) / len(means)]


def make_model(task: Task) -> nn.Module:
    """The module with the Keras model's weights."""
    width, classes = task.features.shape[-1], task.labels.shape[-1]
    filters = task.weights[0].shape[-1]
    if task.module == "cascade":
        model: nn.Module = Cascade(width, filters, classes, task.threshold)
    else:
        model = Pyramid(width, filters, classes)
    with torch.no_grad():
        for parameter, values in zip(model.parameters(), task.weights, strict=True):
            # Keras' kernels are [size, inputs, outputs], PyTorch's [outputs, inputs, size].
            parameter.copy_(torch.from_numpy(np.copy(values.T)).reshape(parameter.shape))
    return model


def make_step(task: Task, variant: str) -> Callable[[], float]:
    """One update, which returns the cross-entropy before it."""
    model = make_model(task)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=task.rate, eps=EPSILON, weight_decay=task.l2
    )
    features, valid, labels = (
        torch.from_numpy(values) for values in (task.features, task.valid, task.labels)
    )
    precision, _, compiled = variant.partition(", ")

    def loss_of(features: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            outputs = model(features.float(), valid, labels)
        losses = [
            functional.binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum")
            for logits in outputs
        ]
        return sum(losses) / len(labels)

    run = torch.compile(loss_of) if compiled else loss_of

    def step() -> float:
        optimizer.zero_grad()
        loss = run(features)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Runs as many steps of a variant as it is asked for, until there is no request any more.

    Args:
      requests: a pickled :class:`Task` as a dictionary, then pairs of a variant and a number.
      answers: for each the seconds taken, those of processor time, and the last step's loss.
    """
    task = Task(**pickle.load(requests))
    steps: dict[str, Callable[[], float]] = {}
    while True:
        try:
            variant, count = pickle.load(requests)
        except EOFError:
            return
        if variant not in steps:
            steps[variant] = make_step(task, variant)
        start, spent = time.perf_counter(), time.process_time()
        for _ in range(count):
            loss = steps[variant]()
        taken = time.perf_counter() - start, time.process_time() - spent
        pickle.dump((*taken, loss), answers)
        answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)

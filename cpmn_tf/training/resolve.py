"""What the preset `plus` leaves to the data set: samples per video, and epochs."""

import dataclasses
import math

import numpy as np

from cpmn_tf.config import Config

SAMPLES_PER_SECOND = 2.0
MIN_SAMPLES, MAX_SAMPLES = 200, 400


def resolve(config: Config, lengths: np.ndarray, rate: float | None) -> Config:
    """The settings with those filled in that the training videos decide.

    - ``cascade.units=0`` becomes P, two samples per second of the median video, at least 200 (of a
      shorter video every unit is taken) and at most 400 (longer ones are sampled more thinly).
      Where the videos' rates differ, P is the median video's units within the same bounds.
    - ``training.updates`` raises ``training.epochs`` to as many as give the cascade so many.

    Args:
      config: settings, with or without what is to be filled in.
      lengths: [videos] int, units of each training video.
      rate: units per second, the same for all of them; None if it is not.

    >>> from cpmn_tf.config import preset
    >>> resolve(preset("plus"), np.array([1500, 1000]), 10.0).cascade.units
    250
    """
    cascade, training = config.cascade, config.training
    if not cascade.units:
        median = float(np.median(lengths))
        wanted = median if rate is None else SAMPLES_PER_SECOND * median / rate
        units = min(max(round(wanted), MIN_SAMPLES), MAX_SAMPLES)
        cascade = dataclasses.replace(cascade, units=units)
    if training.updates:
        steps = math.ceil(len(lengths) / training.batch_size)
        epochs = max(training.epochs, math.ceil(training.updates / steps))
        training = dataclasses.replace(training, epochs=epochs, updates=0)
    return dataclasses.replace(config, cascade=cascade, training=training)

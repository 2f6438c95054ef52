"""What a preset leaves to the data set: lengths in units, and epochs (``plus``)."""

import dataclasses
import math
import statistics
from collections.abc import Collection

from cpmn_tf.config import Config

SAMPLES_PER_SECOND = 2.0
MAX_SAMPLES = 400  # P that training affords; long videos are sampled more thinly
MAX_WINDOW = 512  # T_w likewise; longer videos are cut into windows


def resolve(config: Config, lengths: Collection[int], rate: float | None) -> Config:
    """The settings with those filled in that the training videos decide.

    - ``cascade.units=0`` becomes P = min(2·seconds, 400), the seconds being the median video's;
      where the videos' rates differ, its units take the place of 2·seconds.
    - ``pyramid.window=0`` becomes T_w = min(longest video, 512), windows half of it apart in
      training and all of it at inference.
    - ``training.updates`` raises ``training.epochs`` to as many as give the cascade so many.

    Args:
      config: settings, with or without what is to be filled in.
      lengths: units of each training video.
      rate: units per second, the same for all of them; None if it is not.

    >>> resolve(Config().plus, [300, 200], 10.0).cascade.units
    50
    """
    cascade, pyramid, training = config.cascade, config.pyramid, config.training
    median = statistics.median(lengths)
    if not cascade.units:
        wanted = median if rate is None else SAMPLES_PER_SECOND * median / rate
        units = max(1, min(round(wanted), MAX_SAMPLES))
        cascade = dataclasses.replace(cascade, units=units)
    if not pyramid.window:
        window = min(max(lengths), MAX_WINDOW)
        half = max(window // 2, 1)
        pyramid = dataclasses.replace(pyramid, window=window, train_stride=half, stride=window)
    if training.updates:
        steps = math.ceil(len(lengths) / training.batch_size)
        epochs = max(training.epochs, math.ceil(training.updates / steps))
        training = dataclasses.replace(training, epochs=epochs, updates=0)
    return dataclasses.replace(config, cascade=cascade, pyramid=pyramid, training=training)

"""What `keras.applications` offers: networks by name, and ImageNet's weights of ResNet-50."""

import sys
from collections.abc import Callable

import keras
import numpy as np

from cpmn_tf.encoding import networks
from cpmn_tf.errors import UserError

APPLICATIONS = tuple(name for name in dir(keras.applications) if name[0].isupper())


def application(name: str, *, pretrained: bool) -> tuple[keras.Model, Callable]:
    """A network of `keras.applications` without its classifier, for its own size of images.

    Args:
      name: one of ``APPLICATIONS``.
      pretrained: ImageNet's weights, which Keras downloads; otherwise initial ones.

    Returns:
      The model from [batch, size, size, 3] to [batch, G], the mean over all positions; and its own
      preprocessing of RGB values from 0 to 255.

    Raises:
      UserError: if the weights cannot be downloaded.
    """
    build = getattr(keras.applications, name)
    # Only the network with its classifier knows its size; MobileNetV3 takes any.
    size = build(weights=None).input_shape[1] or networks.SIZE
    shape = (size, size, 3)
    model = _downloaded(
        build,
        weights="imagenet" if pretrained else None,
        include_top=False,
        input_shape=shape,
        pooling="avg",
    )
    return model, sys.modules[build.__module__].preprocess_input


def imagenet_resnet50(channels: int) -> keras.Model:
    """Our ResNet-50 with the weights that `keras.applications` has for ImageNet; no head.

    Raises:
      UserError: if they cannot be downloaded.
    """
    return resnet50_of(_downloaded(keras.applications.ResNet50, weights="imagenet"), channels)


def resnet50_of(source: keras.Model, channels: int) -> keras.Model:
    """Our ResNet-50 up to `pool5`, with the weights of `keras.applications.ResNet50`.

    With 3 channels it computes the same; with others, its first convolution is that of
    :func:`~cpmn_tf.encoding.networks.cross_modality`.
    """
    network = networks.features(networks.resnet50(channels, padded_pool=True), "pool5")
    for layer in network.layers:
        if not layer.weights:
            continue
        given = source.get_layer(_application_name(layer.name))
        weights = given.get_weights()
        if layer.name == "conv1" and channels != 3:
            weights[0] = networks.cross_modality(weights[0], channels)
        if isinstance(layer, keras.layers.BatchNormalization):
            weights[3] = weights[3] + np.float32(given.epsilon - layer.epsilon)
        layer.set_weights(weights)
    return network


def _application_name(name: str) -> str:
    """The layer `res3b_branch2a` or `bn3b_branch2a` as Keras calls it: `conv3_block2_1_conv`."""
    kind = "bn" if name.startswith("bn") else "conv"
    if name in ("conv1", "bn_conv1"):
        return f"conv1_{kind}"
    block, branch = name.removeprefix("res").removeprefix("bn").split("_branch")
    number = {"1": 0, "2a": 1, "2b": 2, "2c": 3}[branch]
    return f"conv{block[0]}_block{ord(block[1]) - ord('a') + 1}_{number}_{kind}"


def _downloaded(build: Callable[..., keras.Model], **options: object) -> keras.Model:
    try:
        return build(**options)
    except Exception as error:
        if "URL fetch failure" not in str(error):  # a bare Exception of keras.utils.get_file
            raise
        raise UserError(
            f"{build.__name__}: its ImageNet weights cannot be downloaded ({error}); give "
            f"`weights` as a file, or random"
        ) from error

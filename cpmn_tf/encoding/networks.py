"""The two-stream encoders' networks: BN-Inception and ResNet-50, as their Caffe models compute.

Layers are called as in the prototxts of TSN, UntrimmedNet (BN-Inception) and of He et al.
(ResNet-50), so that weights are found by name; Keras allows no `/`, which is `.` here. Where Caffe
works in place, its blob `conv1/7x7_s2_bn` is what the layer `conv1/relu_7x7` gives.

Every convolution has a bias, as in BN-Inception and in `keras.applications`; Caffe's ResNet-50
leaves most of them out, which are zeros then.
"""

import difflib
from collections.abc import Callable, Sequence

import keras
import numpy as np

from cpmn_tf.errors import UserError

SIZE = 224  # pixels; the side of the images that both networks were made for
EPSILON = 1e-5  # of Caffe's BatchNorm and of the BN of TSN's fork

# Filters of each module's branches: 1x1; 3x3_reduce, 3x3; double_3x3_reduce, double_3x3 (twice);
# pool_proj. Modules without 1x1 and pool_proj have stride 2. (Ioffe & Szegedy 2015, Fig. 5, as
# Caffe's model has it.)
_MODULES = {
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128),
    "4e": (0, 128, 192, 192, 256, 0),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}
_BLOCKS = {"2": "abc", "3": "abcd", "4": "abcdef", "5": "abc"}


def keras_name(name: str) -> str:
    """A Caffe layer's name in Keras: `inception_3a/1x1` is `inception_3a.1x1`."""
    return name.replace("/", ".")


def bn_inception(
    channels: int = 3, *, num_classes: int = 101, attention: bool = False, size: int = SIZE
) -> keras.Model:
    """BN-Inception with TSN's head.

    Args:
      channels: of the input: 3, or 2·L of stacked flow.
      num_classes: outputs C of `fc-action`.
      attention: whether UntrimmedNet's score `fc-attention` is a second output.
      size: the square input's side, in pixels.

    Returns:
      A model from [batch, size, size, channels] to scores [batch, C] before any softmax; with
      ``attention``, to these and to [batch, 1].
    """
    images = x = keras.Input((size, size, channels), name="data")
    x = _unit(x, 64, 7, "conv1/7x7_s2", stride=2)
    x = _ceil_pool(x, "pool1/3x3_s2")
    x = _unit(x, 64, 1, "conv2/3x3_reduce")
    x = _unit(x, 192, 3, "conv2/3x3")
    x = _ceil_pool(x, "pool2/3x3_s2")
    for name in _MODULES:
        x = _inception(x, name)
    return _with_head(images, x, "global_pool", num_classes, attention)


def resnet50(
    channels: int = 3,
    *,
    num_classes: int = 101,
    attention: bool = False,
    size: int = SIZE,
    width: int = 64,
    padded_pool: bool = False,
) -> keras.Model:
    """ResNet-50 with TSN's head; the stride is in a block's first convolution.

    Args:
      channels, num_classes, attention, size: as in :func:`bn_inception`.
      width: filters of the first stage's inner convolutions; of ``resnet_50_1by2`` 32.
      padded_pool: `pool1` begins one pixel outside the image, as in `keras.applications`; Caffe's
        begins inside and goes beyond the far edges.

    Returns:
      As :func:`bn_inception`.
    """
    images = x = keras.Input((size, size, channels), name="data")
    x = _convolve(x, 64, 7, "conv1", stride=2)
    x = _activate(_normalize(x, "bn_conv1"), "conv1_relu")
    if padded_pool:
        x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
        x = keras.layers.MaxPooling2D(3, 2, name="pool1")(x)
    else:
        x = _ceil_pool(x, "pool1")
    for number, (stage, blocks) in enumerate(_BLOCKS.items()):
        for block in blocks:
            stride = 2 if block == "a" and stage != "2" else 1
            x = _residual(x, width * 2**number, stage + block, stride)
    return _with_head(images, x, "pool5", num_classes, attention)


BACKBONES: dict[str, Callable[..., keras.Model]] = {
    "bn_inception": bn_inception,
    "resnet50": resnet50,
}


def features(network: keras.Model, layer: str) -> keras.Model:
    """The part of a network that ends at a layer, whose output is one vector per image.

    Args:
      network: any functional model.
      layer: its name, Caffe's or Keras'. Spatial maps are averaged over all positions.

    Returns:
      A model from the network's input to [batch, G].

    Raises:
      UserError: if there is no such layer, or its output is neither a map nor a vector.
    """
    names = [each.name for each in network.layers]
    name = keras_name(layer)
    if name not in names:
        close = difflib.get_close_matches(name, names, 3, 0) or names[-3:]
        raise UserError(
            f"{layer}: is no layer of {network.name}; give `layer` one such as {', '.join(close)}"
        )
    output = network.get_layer(name).output
    if isinstance(output, list) or len(output.shape) not in (2, 4):
        raise UserError(
            f"{layer}: gives neither a vector nor a map per image; give `layer` another one"
        )
    if len(output.shape) == 4:
        output = keras.layers.GlobalAveragePooling2D(name=f"{name}_average")(output)
    return keras.Model(network.input, output, name=network.name)


def cross_modality(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A first convolution for ``channels`` inputs from one for RGB (TSN, Wang et al., ECCV 2016).

    Args:
      kernel: [height, width, 3, filters].
      channels: 2·L, the channels of stacked flow.

    Returns:
      [height, width, channels, filters]: the mean over RGB, for every channel.
    """
    return np.repeat(kernel.mean(axis=2, keepdims=True), channels, axis=2)


def draw(model: keras.Model, seed: Sequence[int]) -> None:
    """Random weights that depend on ``seed`` alone, not on Keras' global state.

    Kernels are normal with variance 2 / inputs of a filter (He et al. 2015), so that values stay
    in the range of the images'. Biases and normalizations keep their initial values.
    """
    rng = np.random.default_rng(list(seed))
    for weight in model.trainable_weights:
        shape = tuple(weight.shape)
        if len(shape) < 2:
            continue
        # A depthwise kernel is [height, width, channels, 1], and each filter sees one channel.
        inputs = np.prod(shape[:2] if shape[-1] == 1 and len(shape) == 4 else shape[:-1])
        weight.assign(rng.standard_normal(shape, np.float32) * np.sqrt(2 / inputs))


def _convolve(
    x: keras.KerasTensor, filters: int, kernel: int, name: str, stride: int = 1
) -> keras.KerasTensor:
    """A convolution padded by half its kernel on all sides; with a stride, "same" would differ."""
    padding = "same"
    if stride > 1 and kernel > 1:
        x = keras.layers.ZeroPadding2D(kernel // 2, name=keras_name(f"{name}_pad"))(x)
        padding = "valid"
    return keras.layers.Conv2D(filters, kernel, stride, padding, name=keras_name(name))(x)


def _normalize(x: keras.KerasTensor, name: str, scale: float = 1.0) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(
        epsilon=EPSILON, gamma_initializer=keras.initializers.Constant(scale), name=keras_name(name)
    )(x)


def _activate(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.ReLU(name=keras_name(name))(x)


def _ceil_pool(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Maximum over 3×3 with stride 2, whose last window may reach beyond the edge (Caffe's ceil).

    Zeros beyond the edge change no maximum, since all values come from a ReLU.
    """
    beyond = [(side - 3) % 2 for side in x.shape[1:3]]
    pads = tuple((0, pad) for pad in beyond)
    x = keras.layers.ZeroPadding2D(pads, name=keras_name(f"{name}_pad"))(x)
    return keras.layers.MaxPooling2D(3, 2, name=keras_name(name))(x)


def _unit(
    x: keras.KerasTensor, filters: int, kernel: int, name: str, stride: int = 1
) -> keras.KerasTensor:
    """Convolution, batch normalization and ReLU, called as in TSN's prototxt."""
    x = _normalize(_convolve(x, filters, kernel, name, stride), f"{name}_bn")
    module, part = name.split("/")
    return _activate(x, f"{module}/relu_{part.removesuffix('_s2')}")


def _inception(x: keras.KerasTensor, number: str) -> keras.KerasTensor:
    """One module: its branches side by side."""
    name = f"inception_{number}"
    single, reduce, triple, double_reduce, double, projection = _MODULES[number]
    stride = 1 if single else 2
    branches = [_unit(x, single, 1, f"{name}/1x1")] if single else []
    y = _unit(x, reduce, 1, f"{name}/3x3_reduce")
    branches.append(_unit(y, triple, 3, f"{name}/3x3", stride))
    y = _unit(x, double_reduce, 1, f"{name}/double_3x3_reduce")
    y = _unit(y, double, 3, f"{name}/double_3x3_1")
    branches.append(_unit(y, double, 3, f"{name}/double_3x3_2", stride))
    pool = keras_name(f"{name}/pool")
    if stride == 2:
        branches.append(_ceil_pool(x, f"{name}/pool"))
    else:
        if number == "5b":
            y = keras.layers.MaxPooling2D(3, 1, "same", name=pool)(x)
        else:  # Caffe's average counts the padding's zeros, Keras' "same" does not
            y = keras.layers.ZeroPadding2D(1, name=f"{pool}_pad")(x)
            y = keras.layers.AveragePooling2D(3, 1, name=pool)(y)
        branches.append(_unit(y, projection, 1, f"{name}/pool_proj"))
    return keras.layers.Concatenate(name=keras_name(f"{name}/output"))(branches)


def _residual(x: keras.KerasTensor, filters: int, number: str, stride: int) -> keras.KerasTensor:
    """One block: 1×1, 3×3 and 1×1 convolutions beside a shortcut."""
    shortcut = x
    if number.endswith("a"):
        shortcut = _convolve(x, 4 * filters, 1, f"res{number}_branch1", stride)
        shortcut = _normalize(shortcut, f"bn{number}_branch1")
    for part, width, kernel in (("2a", filters, 1), ("2b", filters, 3), ("2c", 4 * filters, 1)):
        name = f"{number}_branch{part}"
        x = _convolve(x, width, kernel, f"res{name}", stride if part == "2a" else 1)
        # Of random weights, 16 sums of equal parts would grow 2^8-fold; trained ones replace it.
        x = _normalize(x, f"bn{name}", scale=0.25 if part == "2c" else 1.0)
        if part != "2c":
            x = _activate(x, f"res{name}_relu")
    return _activate(keras.layers.Add(name=f"res{number}")([shortcut, x]), f"res{number}_relu")


def _with_head(
    images: keras.KerasTensor, x: keras.KerasTensor, pool: str, num_classes: int, attention: bool
) -> keras.Model:
    """The mean over all positions (Caffe's 7×7, for images of 224 pixels), dropout, the heads."""
    x = keras.layers.GlobalAveragePooling2D(name=pool)(x)
    x = keras.layers.Dropout(0.8, name="dropout")(x)
    outputs = keras.layers.Dense(num_classes, name="fc-action")(x)
    if attention:
        outputs = [outputs, keras.layers.Dense(1, name="fc-attention")(x)]
    name = "bn_inception" if pool == "global_pool" else "resnet50"
    return keras.Model(images, outputs, name=name)

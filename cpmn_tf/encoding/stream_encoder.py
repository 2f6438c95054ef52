"""One stream's network as a graph from 8-bit images to features, and what was asked for it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from cpmn_tf.errors import UserError

LAYER = "fc-action"  # the paper's (Section 3.2), and the default

Compute = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What :func:`~cpmn_tf.encoding.encoders.open_encoder` was asked for, for one stream."""

    name: str
    stream: str
    channels: int
    layer: str
    num_classes: int
    seed: int
    precision: str

    @property
    def default_layer(self) -> bool:
        return self.layer == LAYER


class StreamEncoder:
    """The network of one stream, as one graph of free batch size.

    Attributes:
      size: side of the square images, in pixels.
      channels: 3, red, green and blue; or 2·L of flow, ordered x1, y1, x2, y2, … as TSN stacks it.
      width: G, values per image.
      left_over: layers of a weight file that the network has no place for.

    >>> import numpy as np
    >>> from cpmn_tf.encoding.encoders import open_encoder
    >>> rgb = open_encoder("MobileNetV2", weights="random", streams=["rgb"]).streams["rgb"]
    >>> rgb(np.zeros([2, rgb.size, rgb.size, rgb.channels], np.uint8)).shape
    (2, 1280)
    """

    def __init__(
        self,
        compute: Compute,
        *,
        shape: Sequence[int],
        width: int,
        about: Mapping[str, str],
        left_over: Sequence[str] = (),
    ):
        """``compute`` maps float32 [batch, size, size, channels] = ``shape`` to [batch, width]."""
        _, self.size, _, self.channels = shape
        self.width = width
        self.left_over = tuple(left_over)
        self._about = dict(about)
        spec = tf.TensorSpec([None, *shape[1:]], tf.uint8)
        self._encode = tf.function(
            lambda images: tf.cast(compute(tf.cast(images, tf.float32)), tf.float32),
            input_signature=[spec],
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features of images; preprocessing is in the graph.

        Args:
          images: [batch, size, size, channels] uint8; in flow, 128 is no motion.

        Returns:
          [batch, width] float32.
        """
        return self.start(images).numpy()

    def start(self, images: np.ndarray) -> tf.Tensor:
        """The same as a tensor, which a GPU may still be at work on."""
        return self._encode(images)

    def describe(self) -> dict[str, str | int]:
        """What the features depend on: name, backbone, layer, weights, width, size and channels.

        `weights` is `random:SEED`, `imagenet`, or `sha256:` and the file's digits.
        """
        return {
            **self._about,
            "width": self.width,
            "size": self.size,
            "channels": self.channels,
        }


class DividedEncoder:
    """The network of one stream on several devices, among which each batch is divided.

    Attributes:
      size, channels, width, left_over: as of :class:`StreamEncoder`.

    >>> import numpy as np
    >>> from cpmn_tf.encoding.encoders import open_encoder
    >>> small = {"weights": "random", "streams": ["rgb"], "devices": ["CPU:0"]}
    >>> rgb = open_encoder("MobileNetV2", **small).streams["rgb"]
    >>> rgb(np.zeros([3, rgb.size, rgb.size, rgb.channels], np.uint8)).shape
    (3, 1280)
    """

    def __init__(self, copies: Mapping[str, StreamEncoder]):
        """``copies`` are the same network by the device that holds its weights."""
        self._copies = dict(copies)
        self._first = next(iter(copies.values()))
        self.size, self.channels = self._first.size, self._first.channels
        self.width, self.left_over = self._first.width, self._first.left_over

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """As :class:`StreamEncoder`; all devices are started before the first is waited for."""
        started = []
        parts = np.array_split(images, len(self._copies))
        for (device, network), part in zip(self._copies.items(), parts, strict=True):
            with tf.device(device):
                started.append(network.start(part))
        return np.concatenate([part.numpy() for part in started])

    def describe(self) -> dict[str, str | int]:
        """As :class:`StreamEncoder`: where a network runs says nothing of its features."""
        return self._first.describe()


def of_model(
    model: keras.Model,
    preprocess: Compute,
    about: Mapping[str, str],
    left_over: Sequence[str] = (),
) -> StreamEncoder:
    """The encoder of a Keras model; ``preprocess`` is what its images go through first."""

    def compute(images: tf.Tensor) -> tf.Tensor:
        return model(preprocess(images), training=False)

    width = model.output_shape[1]
    return StreamEncoder(
        compute, shape=model.input_shape, width=width, about=about, left_over=left_over
    )


def check_shapes(
    path: str, given: Sequence[int | None], output: Sequence[int | None], request: Request
) -> None:
    """Raises a UserError for shapes that are not [batch, size, size, channels] and [batch, G]."""
    wanted = f"[batch, size, size, {request.channels}]"
    fits = len(given) == 4 and given[1] and given[1] == given[2] and given[3] == request.channels
    if not fits or len(output) != 2 or not isinstance(output[1], int):
        raise UserError(
            f"{path}: maps {list(given)} to {list(output)} where {wanted} to [batch, G] is needed; "
            f"save a network of such shapes, and of `flow_frames` frames"
        )

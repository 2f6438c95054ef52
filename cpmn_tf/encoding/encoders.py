"""Encoders by name: a network per stream, its weights, and what its images go through first.

Units of a video become features here: the centre frame by the spatial network, stacked flow by the
temporal one (Section 3.2). Which frames these are, and how they are cropped, is not known here.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence

import keras
import tensorflow as tf

from cpmn_tf.encoding import networks
from cpmn_tf.encoding.caffemodel import assign, read_caffemodel
from cpmn_tf.encoding.imagenet import APPLICATIONS, application, imagenet_resnet50
from cpmn_tf.encoding.own_network import load_keras, loading, own_network, sha256
from cpmn_tf.encoding.stream_encoder import (
    LAYER,
    Compute,
    DividedEncoder,
    Request,
    StreamEncoder,
    check_shapes,
    of_model,
)
from cpmn_tf.errors import UserError

# TSN publishes BN-Inception for both streams. The paper has ResNet beside it (Section 4.1).
TWO_STREAM = {
    "tsn": {"rgb": "bn_inception", "flow": "bn_inception"},
    "untrimmednet": {"rgb": "resnet50", "flow": "bn_inception"},
}
STREAMS = ("rgb", "flow")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
# Of blue, green and red; Caffe's networks take them in this order.
TSN_MEANS = (104.0, 117.0, 123.0)
IMAGENET_MEANS = (103.939, 116.779, 123.68)
NO_MOTION = 128.0  # what flow of 0 pixels is in 8 bits

Weights = str | Mapping[str, str | os.PathLike] | None


@dataclasses.dataclass(frozen=True)
class Encoder:
    """The networks of all streams.

    Attributes:
      name: as :func:`open_encoder` was given it.
      streams: stream -> its encoder.

    >>> from cpmn_tf.encoding.encoders import open_encoder
    >>> encoder = open_encoder("tsn", weights="random", streams=["flow"], num_classes=20)
    >>> flow = encoder.streams["flow"]
    >>> flow.size, flow.channels, flow.width
    (224, 10, 20)
    """

    name: str
    streams: dict[str, StreamEncoder | DividedEncoder]


def open_encoder(
    name: str,
    *,
    weights: Weights = None,
    layer: str = LAYER,
    flow_frames: int = 5,
    num_classes: int = 101,
    seed: int = 0,
    streams: Sequence[str] = STREAMS,
    precision: str = "float32",
    devices: Sequence[str] = (),
) -> Encoder:
    """Opens an encoder.

    Args:
      name: `tsn` or `untrimmednet`; a network of `keras.applications`, such as
        `EfficientNetV2B0`, for RGB; or a file, Keras' (.keras) or a SavedModel's folder, with
        `{stream}` where its path holds the stream's name. Files get RGB or flow as float32 from 0
        to 255, unchanged, and map [batch, size, size, channels] to [batch, G].
      weights: `random`; `imagenet`, downloaded by Keras; or a file by stream: `.caffemodel`, whose
        backbone is told by its layers, `.weights.h5` of the named encoder's network, or `.keras`,
        a network that was saved whole. None for an encoder that is a file.
        `imagenet` is ResNet-50 in both streams of `untrimmednet`, with the flow network's first
        convolution by cross-modality initialization.
      layer: whose output is the feature; maps are averaged over all positions. The default is,
        for `keras.applications` and files, the network's own output.
      flow_frames: L, frame pairs of a flow stack.
      num_classes: outputs of `fc-action`, but for a `.caffemodel`, which has its own.
      seed: of random weights.
      streams: of `rgb` and `flow`.
      precision: `float32`, `mixed_bfloat16` or `mixed_float16`; features are float32.
      devices: such as `GPU:0`, each with a copy of every network; batches are divided among them.
        By default TensorFlow's own choice.

    Raises:
      UserError: if there is no such encoder, layer, weight file or device, or they do not fit.
    """
    if precision not in PRECISIONS:
        raise UserError(f"`precision`={precision}: is none of {', '.join(PRECISIONS)}")
    _check_devices(devices)
    opened: dict[str, StreamEncoder | DividedEncoder] = {}
    for stream in streams:
        if stream not in STREAMS:
            raise UserError(f"`streams`: {stream} is none of {', '.join(STREAMS)}")
        request = Request(
            name=name,
            stream=stream,
            channels=3 if stream == "rgb" else 2 * flow_frames,
            layer=layer,
            num_classes=num_classes,
            seed=seed,
            precision=precision,
        )
        copies = {}
        for device in devices or ("",):
            with _policy(precision), tf.device(device or None):
                copies[device] = _open(request, weights, alone=len(streams) == 1)
        opened[stream] = DividedEncoder(copies) if devices else copies[""]
    return Encoder(name, opened)


def _open(request: Request, weights: Weights, *, alone: bool) -> StreamEncoder:
    """One stream's network."""
    if request.name in TWO_STREAM:
        return _two_stream(request, _source(weights, request.stream))
    if request.name in APPLICATIONS:
        return _application(request, _source(weights, request.stream))
    return own_network(_path(request, weights, alone=alone), request)


def _check_devices(devices: Sequence[str]) -> None:
    """Raises a UserError for a device that is not there."""
    known = {
        f"{device.device_type}:{device.name.rpartition(':')[2]}"
        for device in tf.config.list_logical_devices()
    }
    for device in devices:
        if device not in known:
            there = ", ".join(sorted(known))
            raise UserError(f"`devices`: there is no {device}; there are {there}")


@contextlib.contextmanager
def _policy(precision: str) -> Iterator[None]:
    """Layers made inside compute in ``precision``."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _source(weights: Weights, stream: str) -> str:
    """`random`, `imagenet`, or the path of a stream's file."""
    if weights in ("random", "imagenet"):
        return str(weights)
    if not isinstance(weights, Mapping):
        raise UserError(f"`weights`={weights}: is neither random nor imagenet nor files by stream")
    if stream not in weights:
        raise UserError(f"`weights`: names no file for the stream {stream}; name one for each")
    return str(weights[stream])


def _two_stream(request: Request, source: str) -> StreamEncoder:
    """A stream of TSN or UntrimmedNet."""
    backbone = TWO_STREAM[request.name][request.stream]
    means = TSN_MEANS
    left_over: list[str] = []
    weights = source
    if source == "random":
        network = _network(backbone, request)
        networks.draw(network, [request.seed, *request.stream.encode()])
        model, weights = networks.features(network, request.layer), f"random:{request.seed}"
    elif source == "imagenet":
        model, means = networks.features(_imagenet(request), request.layer), IMAGENET_MEANS
    else:
        model, left_over = _from_file(backbone, request, source)
        weights = f"sha256:{sha256(source)}"
    about = {"name": request.name, "backbone": model.name, "layer": request.layer}
    images = _caffe_images(request.stream, means)
    return of_model(model, images, about | {"weights": weights}, left_over)


def _network(backbone: str, request: Request) -> keras.Model:
    return networks.BACKBONES[backbone](
        request.channels,
        num_classes=request.num_classes,
        attention=request.layer == "fc-attention",
    )


def _imagenet(request: Request) -> keras.Model:
    if request.name == "tsn":
        raise UserError(
            "tsn: there are no ImageNet weights of BN-Inception in Keras; take untrimmednet, whose "
            "spatial network is ResNet-50, or give `weights` as files"
        )
    if request.layer.startswith("fc-"):
        raise UserError(
            f"{request.layer}: ImageNet's weights know no actions; give `layer` pool5, the vector "
            f"before"
        )
    return imagenet_resnet50(request.channels)


def _from_file(backbone: str, request: Request, path: str) -> tuple[keras.Model, list[str]]:
    """The network up to the wanted layer with a file's weights; the layers left over."""
    if path.endswith(".caffemodel"):
        blobs = read_caffemodel(path)
        backbone = "resnet50" if "bn_conv1" in blobs else "bn_inception"
        if LAYER in blobs:  # the file knows how many classes it has
            request = dataclasses.replace(request, num_classes=blobs[LAYER][0].shape[-2])
        model = networks.features(_network(backbone, request), request.layer)
        return model, assign(model, blobs, path)
    if path.endswith(".weights.h5"):
        network = _network(backbone, request)
        with loading(path, "save it from this network, with as many classes"):
            network.load_weights(path)
    elif path.endswith(".keras"):
        network = load_keras(path, request)
    else:
        raise UserError(f"{path}: is none of .caffemodel, .weights.h5 and .keras; give one")
    model = networks.features(network, request.layer)
    check_shapes(path, model.input_shape, model.output_shape, request)
    return model, []


def _caffe_images(stream: str, means: Sequence[float]) -> Compute:
    """What TSN and UntrimmedNet do to images: blue, green, red, less the means; flow, less 128."""
    if stream == "rgb":
        return lambda images: images[..., ::-1] - tf.constant(means)
    return lambda images: images - NO_MOTION


def _application(request: Request, source: str) -> StreamEncoder:
    """A network of `keras.applications`, without its classifier."""
    if request.stream != "rgb":
        raise UserError(
            f"{request.name}: is for RGB images; give `streams` rgb alone, or a file of your own"
        )
    if source not in ("random", "imagenet"):
        raise UserError(
            f"{request.name}: has weights random or imagenet; save another network as a .keras "
            f"file, and give that as the encoder"
        )
    model, preprocess = application(request.name, pretrained=source == "imagenet")
    if source == "random":
        networks.draw(model, [request.seed, *request.stream.encode()])
        source = f"random:{request.seed}"
    if not request.default_layer:
        model = networks.features(model, request.layer)
    layer = "output" if request.default_layer else request.layer
    about = {"name": request.name, "backbone": request.name, "layer": layer, "weights": source}
    return of_model(model, preprocess, about)


def _path(request: Request, weights: Weights, *, alone: bool) -> str:
    """The file of a network of the user's."""
    path = request.name.replace("{stream}", request.stream)
    if not os.path.exists(path):
        raise UserError(
            f"{path}: is no encoder and no file; give one of {', '.join(TWO_STREAM)}, a network of "
            f"keras.applications, such as {APPLICATIONS[0]}, or a file"
        )
    if weights is not None:
        raise UserError(f"{path}: has weights of its own; leave `weights` out")
    if not alone and path == request.name:
        raise UserError(
            f"{path}: is one network for several streams; write {{stream}} into the path, or name "
            f"one stream"
        )
    return path

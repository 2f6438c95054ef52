"""Weights of Caffe: reads a `.caffemodel`, and gives a Keras network's layers theirs by name.

The file is a protobuf message `NetParameter`. Of its schema only what holds weights is here; the
rest is skipped. Packed numbers are bytes on the wire, and are read as such.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from cpmn_tf.errors import UserError

Blobs = Mapping[str, Sequence[np.ndarray]]

# Message -> fields of type: number, name and, of nested messages, theirs. `*` is for repeated ones.
_SCHEMA = {
    "BlobShape": {"dim*": (1, "int64")},
    "BlobProto": {
        "num": (1, "int32"),
        "channels": (2, "int32"),
        "height": (3, "int32"),
        "width": (4, "int32"),
        "data": (5, "bytes"),  # packed float
        "shape": (7, "BlobShape"),
        "double_data": (8, "bytes"),  # packed double
    },
    "LayerParameter": {"name": (1, "bytes"), "type": (2, "bytes"), "blobs*": (7, "BlobProto")},
    "V1LayerParameter": {"name": (4, "bytes"), "type": (5, "int32"), "blobs*": (6, "BlobProto")},
    "NetParameter": {
        "name": (1, "bytes"),
        "layers*": (2, "V1LayerParameter"),
        "layer*": (100, "LayerParameter"),
    },
}


def net_parameter() -> message.Message:
    """An empty `NetParameter`."""
    file = descriptor_pb2.FileDescriptorProto(name="cpmn_tf_caffe.proto", package="cpmn_tf_caffe")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in _SCHEMA.items():
        described = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            repeated = field.endswith("*")
            added = described.field.add(name=field.rstrip("*"), number=number)
            added.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in _SCHEMA:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".cpmn_tf_caffe.{kind}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("cpmn_tf_caffe.NetParameter")
    return message_factory.GetMessageClass(found)()


def read_caffemodel(path: str | os.PathLike) -> dict[str, list[np.ndarray]]:
    """The weights of a `.caffemodel`, old (V1) layers included.

    Returns:
      Layer name -> its blobs, float32, of the shapes that the file gives. Layers without are
      left out.

    Raises:
      UserError: if the file cannot be read, is no caffemodel, is cut off, or holds a value that is
        not finite.
    """
    net = net_parameter()
    try:
        net.ParseFromString(pathlib.Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except message.DecodeError as error:
        raise UserError(f"{path}: is no caffemodel, or is cut off; download it anew") from error
    found = {}
    for layer in (*net.layers, *net.layer):
        name = layer.name.decode(errors="replace")
        if layer.blobs:
            found[name] = [_array(blob, f"{path}: layer {name}") for blob in layer.blobs]
    if not found:
        raise UserError(f"{path}: holds no layer with weights; give a .caffemodel of Caffe")
    return found


def _array(blob: message.Message, where: str) -> np.ndarray:
    shape = list(blob.shape.dim) or [blob.num, blob.channels, blob.height, blob.width]
    kind, data = ("<f8", blob.double_data) if blob.double_data else ("<f4", blob.data)
    if len(data) != int(np.prod(shape)) * int(kind[-1]):
        raise UserError(f"{where}: has {len(data)} bytes for {shape} values; download it anew")
    array = np.frombuffer(data, kind).astype(np.float32).reshape(shape)
    if not np.isfinite(array).all():
        raise UserError(f"{where}: holds a weight that is not finite; download it anew")
    return array


def assign(model: keras.Model, blobs: Blobs, path: str | os.PathLike = "weights") -> list[str]:
    """Gives every layer of a model that has weights those of the Caffe layer of its name.

    A convolution or an inner product takes [kernel, bias]; without a bias, which Caffe leaves out
    for `bias_term: false`, it is zero. Batch normalization comes in two forms:

    - Caffe's: `BatchNorm` of [mean, variance, f], both divided by f, and a `Scale` of
      [gamma, beta] called the same with `scale` for `bn` (`bn_conv1`, `scale_conv1`;
      `conv1/7x7_s2_bn`, `conv1/7x7_s2_scale`);
    - the fork's of TSN and UntrimmedNet: `BN` of [gamma, beta, mean, variance], epsilon 1e-5. A
      file does not tell the fourth from 1/σ, should another fork store that.

    Args:
      model: of :mod:`cpmn_tf.encoding.networks`, cut at the layer that is wanted: what comes after
        needs no weights.
      blobs: of :func:`read_caffemodel`.
      path: the file, for messages.

    Returns:
      The file's layers that the model has no place for.

    Raises:
      UserError: if a layer of the model has no weights in the file, or others than it needs; no
        layer has new weights then.
    """
    layers = [layer for layer in model.layers if layer.weights]
    names = {layer.name: layer.name.replace(".", "/") for layer in layers}
    missing = [name for name in names.values() if name not in blobs]
    if missing:
        raise UserError(
            f"{path}: has no weights for {len(missing)} of {len(layers)} layers of {model.name}, "
            f"such as {missing[0]}; give the weights of this network"
        )
    used, values = set(names.values()), []
    for layer in layers:
        name = names[layer.name]
        where = f"{path}: layer {name}"
        if isinstance(layer, keras.layers.BatchNormalization):
            scale = name.replace("bn", "scale", 1)
            used |= {scale} if len(blobs[name]) == 3 else set()
            values.append(_normalization(layer, blobs[name], blobs.get(scale, ()), where))
        else:
            values.append(_product(layer, blobs[name], where))
    for layer, arrays in zip(layers, values, strict=True):
        layer.set_weights(arrays)
    return [name for name in blobs if name not in used]


def _normalization(
    layer: keras.Layer,
    blobs: Sequence[np.ndarray],
    scale: Sequence[np.ndarray],
    where: str,
) -> list[np.ndarray]:
    """[gamma, beta, mean, variance] of either form."""
    if len(blobs) == 3 and len(scale) == 2:
        factor = blobs[2].reshape(-1)[0]
        # A factor of 0 is that of a network that has seen no batch.
        statistics = [blob / factor if factor else np.zeros_like(blob) for blob in blobs[:2]]
        arrays = [*scale, *statistics]
    elif len(blobs) == 4:
        arrays = list(blobs)
    else:
        raise UserError(
            f"{where}: is neither BatchNorm with Scale nor BN of four blobs, but has {len(blobs)}; "
            f"give the weights of this network"
        )
    found = [_fit(array, layer.gamma.shape, where) for array in arrays]
    if found[3].min() < 0:
        raise UserError(f"{where}: has a negative variance; download it anew")
    return found


def _product(layer: keras.Layer, blobs: Sequence[np.ndarray], where: str) -> list[np.ndarray]:
    """[kernel, bias] of a convolution, [outputs, inputs, height, width], or an inner product."""
    shape = layer.kernel.shape
    order = (3, 2, 0, 1) if len(shape) == 4 else (1, 0)
    kernel = _fit(blobs[0], [shape[axis] for axis in order], where)
    bias = _fit(blobs[1], [shape[-1]], where) if len(blobs) > 1 else np.zeros(shape[-1])
    return [kernel.transpose(np.argsort(order)), bias]


def _fit(array: np.ndarray, shape: Sequence[int], where: str) -> np.ndarray:
    """In a shape that differs by sides of 1 at most, as those of old files do."""
    if [side for side in array.shape if side > 1] != [side for side in shape if side > 1]:
        raise UserError(
            f"{where}: is {list(array.shape)} where the network has {list(shape)}; give the "
            f"`flow_frames` of the file, or the weights of this network"
        )
    return array.reshape(shape)

"""Encoders that are a file: Keras' (.keras), or a SavedModel's folder."""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from cpmn_tf.encoding import networks
from cpmn_tf.encoding.stream_encoder import Request, StreamEncoder, check_shapes, of_model
from cpmn_tf.errors import UserError
from cpmn_tf.files import file_sha256


def own_network(path: str, request: Request) -> StreamEncoder:
    """The encoder that a file is. It gets RGB or flow as float32 from 0 to 255, unchanged.

    Raises:
      UserError: if it cannot be loaded, or maps other shapes.
    """
    about = {
        "name": pathlib.Path(path).name,  # where it is says nothing
        "layer": "output" if request.default_layer else request.layer,
        "weights": f"sha256:{sha256(path)}",
    }
    if not path.endswith(".keras"):
        return _saved_model(path, request, about)
    model = load_keras(path, request)
    if not request.default_layer:
        model = networks.features(model, request.layer)
    check_shapes(path, model.input_shape, model.output_shape, request)
    return of_model(model, lambda images: images, about | {"backbone": model.name})


def load_keras(path: str, request: Request) -> keras.Model:
    """A model that was saved whole.

    Raises:
      UserError: if it cannot be loaded, or another precision than its own was asked for.
    """
    if request.precision != "float32":
        raise UserError(f"{path}: has a precision of its own; leave `precision` at float32")
    with loading(path, "save it with this version of Keras"):
        return keras.models.load_model(path, compile=False)


def _saved_model(path: str, request: Request, about: dict[str, str]) -> StreamEncoder:
    """A SavedModel's `serving_default`, which takes one tensor and gives one."""
    if not request.default_layer or request.precision != "float32":
        raise UserError(f"{path}: is a graph; leave `layer` and `precision` as they are")
    with loading(path, "export it anew"):
        loaded = tf.saved_model.load(path)
        signature = loaded.signatures["serving_default"]
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(f"{path}: must take one tensor and give one; export such a signature")
    (given,), (name,) = inputs, outputs
    shape, width = inputs[given].shape.as_list(), outputs[name].shape.as_list()
    check_shapes(path, shape, width, request)

    def compute(images: tf.Tensor) -> tf.Tensor:
        return loaded.signatures["serving_default"](**{given: images})[name]

    about |= {"backbone": "saved_model"}
    return StreamEncoder(compute, shape=shape, width=width[1], about=about)


@contextlib.contextmanager
def loading(path: str, fix: str) -> Iterator[None]:
    """Says which file could not be loaded."""
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError, tf.errors.OpError) as error:
        line = str(error).strip().splitlines()[0][:200]
        raise UserError(f"{path}: cannot be loaded ({line}); {fix}") from error


def sha256(path: str | os.PathLike) -> str:
    """Of a file, or of a folder's files with their names."""
    if not os.path.isdir(path):
        return file_sha256(path)
    files = sorted(file for file in pathlib.Path(path).rglob("*") if file.is_file())
    lines = [f"{file_sha256(file)} {file.relative_to(path).as_posix()}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()

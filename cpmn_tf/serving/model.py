"""A version of an exported model, as functions of arrays."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from cpmn_tf.data.manifest import graph_argument
from cpmn_tf.data.records import batch_spec
from cpmn_tf.data.schema import stream_fields
from cpmn_tf.serving import batches, page, protobufs
from cpmn_tf.serving.protocol import Call, check_size, invalid, quoted
from cpmn_tf.serving.saved_model import load_exported
from cpmn_tf.serving.settings import ServerSettings


class Model:
    """A loaded version.

    Attributes:
      signatures: what requests are checked against.
      definitions: the same, as metadata has them.
      page: what the page has to know of it.
    """

    def __init__(self, folder: pathlib.Path, settings: ServerSettings):
        """Loads it, and opens the encoder if videos are taken.

        Raises:
          UserError: if it is no export, or the encoder is not that of its training videos.
        """
        exported = load_exported(folder)
        self._functions = exported.loaded.signatures
        self._loaded = exported.loaded  # whose variables live only as long as it does
        self._encoder = settings.encoder or None, settings.weights
        if settings.encode_videos:
            page.upload_encoder(exported.manifest, *self._encoder)
        self.definitions = protobufs.signature_definitions(folder)
        self.signatures = protobufs.signatures_of(self.definitions)
        self.page = page.Served.open(
            folder, settings.model_name, settings.limits, settings.encode_videos
        )

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of one signature."""
        given = {graph_argument(name): tf.constant(value) for name, value in inputs.items()}
        found = self._functions[signature](**given)
        return {name: value.numpy() for name, value in found.items()}

    def examined(self, call: Call) -> Call:
        """A call of `serialized` with the units of its longest example.

        Raises:
          Refusal: if these are more than the limits allow, or one is no record of such streams.
        """
        streams = self.page.manifest.streams
        try:
            parsed = tf.io.parse_example(call.inputs["examples"], batch_spec(streams))
        except (tf.errors.InvalidArgumentError, UnicodeDecodeError):  # whose text quotes the bytes
            invalid(
                f"input 'examples': one is no tf.train.Example of a record with {quoted(streams)}"
            )
        dimensions = [parsed[stream_fields(name)[1].key] for name in streams]
        units = max(0, int(np.max(dimensions)))
        check_size(call.videos, units, self.page.limits)
        return dataclasses.replace(call, units=units)

    def check(self) -> None:
        """Runs a video through it, which also builds the graph.

        Raises:
          ValueError: if it finds nothing that can be answered.
        """
        streams = self.page.manifest.streams.items()
        features = {name: np.ones([8, width], np.float32) for name, width in streams}
        found = self.run("detect", batches.of_video(features, rate=1.0, duration=1.0))
        if found["status"][0]:
            raise ValueError(f"a video of ones has the status {found['status'][0]}")

    def encode(self, video: pathlib.Path) -> tuple[dict[str, np.ndarray], float, float]:
        """A video's features, units per second and seconds."""
        return page.encode_upload(video, self.page.manifest, *self._encoder)

"""One new video: encoded as the model's training videos were, and localized."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cpmn_tf.encoding.decoding import VideoFile
from cpmn_tf.encoding.description import first_difference
from cpmn_tf.encoding.encode import EncodedVideo, EncodingSettings, encode
from cpmn_tf.encoding.encoders import Encoder, Weights, open_encoder
from cpmn_tf.encoding.inputs import find_videos
from cpmn_tf.encoding.stream_encoder import LAYER
from cpmn_tf.errors import UserError
from cpmn_tf.formats.detections import Detections
from cpmn_tf.inference import localize

if TYPE_CHECKING:
    from cpmn_tf.models import CPMN
    from cpmn_tf.serving.saved_model import Exported

# How a description's weights begin. Files are not where they were on another machine.
_OF_SEED, _OF_FILES = "random:", "sha256:"


def localize_video(
    model: "CPMN | Exported",
    video: str | os.PathLike,
    *,
    encoder: str | None = None,
    weights: Weights = None,
) -> Detections:
    """Localizes actions in a video file.

    Its frames go through the encoder that the model's training videos went through, which
    ``model.json`` describes.

    Args:
      model: of :func:`~cpmn_tf.load_model` or
        :func:`~cpmn_tf.serving.saved_model.load_exported`.
      video: a file that FFmpeg reads.
      encoder: the encoder's name or file; needed where it is a file.
      weights: as of :func:`~cpmn_tf.encoding.encoders.open_encoder`; needed where they are files.

    Raises:
      UserError: if the model's features were not made by `cpmn-encode`, or by another encoder;
        names the field. Or if the video cannot be read.
    """
    known = model.manifest.encoder
    if not known:
        raise UserError(
            "the model does not say how its features were made; use `encode` and `localize` with "
            "the encoder that made them"
        )
    opened = described_encoder(known, encoder, weights, streams=model.streams)
    settings = described_settings(known)
    return localize_encoded(model, encode_one(video, opened, settings), settings)


def described_settings(known: Mapping[str, Any]) -> EncodingSettings:
    """How units are drawn, of a description."""
    names = {"unit_frames", "fps", "crops"}
    method = {"flow": known["flow"]["method"]} if known["flow"] else {}
    return EncodingSettings(**{name: known[name] for name in names}, **method)


def described_encoder(
    known: Mapping[str, Any],
    name: str | None,
    weights: Weights,
    *,
    streams: Mapping[str, int],
) -> Encoder:
    """Opens the encoder that a description is of, and checks that it is the same.

    Args:
      known: the description.
      name: the encoder, by default as described.
      weights: its weights, by default as described, unless these are files.
      streams: those that are needed of it.

    Raises:
      UserError: naming the field that differs, or what has to be given.
    """
    of_streams = {stream: known["streams"].get(stream) for stream in streams}
    missing = [stream for stream, made in of_streams.items() if not made]
    if missing:
        raise UserError(
            f"stream {missing[0]!r}: no encoder of videos made it; localize in records of features"
        )
    first = of_streams[next(iter(streams))]
    # What an encoder's file is called says too little to find it by.
    made_by = str(first["weights"])
    if weights is None and name is None and made_by.startswith(_OF_FILES):
        raise UserError(
            f"the model's features were made by the files of {first['name']!r} ({made_by:.19}…); "
            "give `encoder` and, unless it is a file itself, `weights`"
        )
    if weights is None and name in (None, first["name"]) and not made_by.startswith(_OF_FILES):
        weights = made_by.partition(":")[0]  # random or imagenet
    seed = int(made_by.removeprefix(_OF_SEED)) if made_by.startswith(_OF_SEED) else 0
    layer = str(first["layer"])
    opened = open_encoder(
        name or str(first["name"]),
        weights=weights,
        layer=LAYER if layer == "output" else layer,
        flow_frames=_flow_frames(known),
        seed=seed,
        streams=tuple(streams),
    )
    now = {stream: net.describe() for stream, net in opened.streams.items()}
    if field := first_difference(of_streams, now):
        raise UserError(
            f"`encoder`: the model's features were made with {field}; give the encoder that made "
            "them"
        )
    return opened


def _flow_frames(known: Mapping[str, Any]) -> int:
    """L, the same for all streams of flow."""
    return next(iter(known["flow"]["frames"].values())) if known["flow"] else 5


def encode_one(
    video: str | os.PathLike, encoder: Encoder, settings: EncodingSettings
) -> EncodedVideo:
    """One video's features.

    Raises:
      UserError: if it cannot be read, or is a folder or a list of videos.
    """
    found = find_videos([video])
    if list(found.values()) != [pathlib.Path(video)]:
        raise UserError(f"{video}: is no video file; name one")
    (encoded,) = encode(found, encoder.streams, settings)
    return encoded


def localize_encoded(
    model: "CPMN | Exported", encoded: EncodedVideo, settings: EncodingSettings
) -> Detections:
    """Localizes in a video that was encoded so; its id is the file's name without ending."""
    features, rate = arrays_of(model.streams, encoded, settings)
    found = localize(model, features, rate=rate, duration=encoded.duration)
    return dataclasses.replace(found, videos=(encoded.id,))


def arrays_of(
    streams: Iterable[str], encoded: EncodedVideo, settings: EncodingSettings
) -> tuple[dict[str, np.ndarray], float]:
    """The features, [T, G] of each of a model's streams, and their units per second."""
    features = {stream: encoded.features[stream] for stream in streams}
    return features, encoded.fps / settings.unit_frames


def frames_of(
    video: str | os.PathLike, encoded: EncodedVideo, count: int, short: int = 96
) -> list[np.ndarray]:
    """Frames from the middles of ``count`` equal parts: uint8 [height, width, 3], RGB.

    Args:
      video: the file that was encoded.
      encoded: what was found of it.
      count: how many; of a video with fewer, each as often as needed.
      short: pixels of a frame's shorter side.
    """
    wanted = [int((part + 0.5) * encoded.frames / count) for part in range(count)]
    found = {}
    with VideoFile(video, fps=encoded.fps) as source:
        for tick, frame in enumerate(source.ticks()):
            if tick in wanted:
                found[tick] = source.rgb(frame, short)
    return [found[tick] for tick in wanted]

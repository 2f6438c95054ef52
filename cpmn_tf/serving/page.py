"""What the page's own endpoints answer: features files in, detections and curves out.

Knows no server and imports no TensorFlow: bytes become arrays, arrays become plain values for JSON.
What comes from outside is checked here, once; every fault is a :class:`Refusal` of one line.
"""

import dataclasses
import functools
import html
import io
import json
import math
import pathlib
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cpmn_tf.errors import UserError
from cpmn_tf.files import read_json
from cpmn_tf.formats.arrays import all_finite, check_numbers, read_header
from cpmn_tf.serving import batches
from cpmn_tf.serving.protocol import Limits, Refusal

if TYPE_CHECKING:
    from cpmn_tf.encoding.encode import EncodingSettings
    from cpmn_tf.encoding.encoders import Encoder, Weights
    from cpmn_tf.training.model_folder import ModelManifest

INDEX = pathlib.Path(__file__).parent / "page" / "index.html"
# Sent with the page. Its own policy is in the file; only a header can say who may frame it.
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
MOST_POINTS = 2000  # of a curve
MOST_CLASSES = 20  # with curves, the most probable; detections are of all
MODEL_FILE = "model.json"
EXAMPLE = "example"  # .npz and .json, in assets.extra

_NPY, _ZIP, _MEMBER = b"\x93NUMPY", b"PK", b"PK\x01\x02"
_QUERY = ("rate", "duration", "top", "example")

# A video file -> features [units, G] by stream, units per second, seconds
Encode = Callable[[pathlib.Path], tuple[dict[str, np.ndarray], float, float]]


def index(model: str) -> bytes:
    """The page, told the model's name.

    >>> b'content="cpmn"' in index("cpmn")
    True
    """
    text = INDEX.read_text(encoding="utf-8")
    named = f'name="model" content="{html.escape(model)}"'
    return text.replace('name="model" content="cpmn"', named, 1).encode()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Video:
    """One video, checked, as a model takes it.

    Attributes:
      id: the example's, else ``video``.
      features: [units, G] float32 by stream.
      rate: units per second.
      duration: seconds.
      truth: label, start and end in seconds of the true segments; None where nobody knows them.
    """

    id: str
    features: Mapping[str, np.ndarray]
    rate: float
    duration: float
    truth: tuple[tuple[str, float, float], ...] | None = None

    @property
    def units(self) -> int:
        """T, of each stream."""
        return len(next(iter(self.features.values())))

    def inputs(self) -> dict[str, np.ndarray]:
        """A batch of one; the signature ``score`` takes all but ``durations``."""
        return batches.of_video(self.features, self.rate, self.duration)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """What the page has to know of one version of a model.

    Attributes:
      name, version: as they are served.
      manifest: what ``model.json`` says.
      status: what is wrong with a video, by code.
      limits: of a request.
      example: of ``assets.extra``, if there is one.
      encodes_video: whether video files are taken.
    """

    name: str
    version: int
    manifest: "ModelManifest"
    status: Sequence[str]
    limits: Limits
    example: Video | None = None
    encodes_video: bool = False

    @classmethod
    def open(
        cls, folder: pathlib.Path, name: str, limits: Limits, encodes_video: bool = False
    ) -> "Served":
        """Of an exported version's folder, whose name is its number.

        Raises:
          UserError: if its ``model.json`` or its example is damaged.
        """
        from cpmn_tf.training.model_folder import ModelManifest

        manifest = ModelManifest.load(folder / "assets")
        return cls(
            name=name,
            version=int(folder.name),
            manifest=manifest,
            status=tuple(read_json(folder / "assets" / MODEL_FILE)["status"]),
            limits=limits,
            example=load_example(folder / "assets.extra", manifest.streams, limits),
            encodes_video=encodes_video,
        )


def load_example(folder: pathlib.Path, streams: Mapping[str, int], limits: Limits) -> Video | None:
    """The video that `cpmn-export --example` put there; None where there is none.

    Raises:
      UserError: if it is not whole, or not of the model.
    """
    path = folder / f"{EXAMPLE}.json"
    if not path.is_file():
        return None
    try:
        known = read_json(path)
        features = read_features(path.with_suffix(".npz").read_bytes(), streams, limits)
        rate, duration = _times(known["rate"], known["duration"], features)
        truth = tuple(
            (str(item["label"]), float(item["segment"][0]), float(item["segment"][1]))
            for item in known["segments"]
        )
        return Video(
            id=str(known["id"]), features=features, rate=rate, duration=duration, truth=truth
        )
    except (OSError, LookupError, TypeError, ValueError, Refusal) as error:
        raise UserError(f"{path}: is no example of this model ({error}); export it anew") from error


def about(served: Served) -> dict[str, Any]:
    """What the page shows before anything is localized."""
    example = served.example
    return {
        "name": served.name,
        "version": served.version,
        "classes": list(served.manifest.classes),
        "streams": dict(served.manifest.streams),
        "rate": _known_rate(served.manifest.encoder),
        "encodes_video": served.encodes_video,
        "example": example and {"id": example.id, "duration": example.duration},
        "limits": dataclasses.asdict(served.limits),
    }


def _known_rate(encoder: Mapping[str, Any]) -> float | None:
    """Units per second, where the encoder drew its frames at a rate of its own."""
    fps = encoder.get("fps")
    return fps / encoder["unit_frames"] if fps else None


def read_video(
    served: Served, query: Mapping[str, str], body: bytes, encode: Encode | None = None
) -> tuple[Video, int | None]:
    """What ``:localize`` was asked.

    Args:
      served: the model.
      query: ``rate`` in units per second, ``duration`` in seconds, ``top``, ``example``.
      body: a ``.npz`` or ``.npy`` file, or a video; empty for the example.
      encode: makes features of a video file, such as :func:`encode_upload`.

    Returns:
      The video, and how many detections are wanted, None for all.

    Raises:
      Refusal: naming what is wrong with the query or the file.
    """
    if unknown := sorted(set(query) - set(_QUERY)):
        raise _invalid(f"{unknown[0]!r} is no parameter; there are {', '.join(_QUERY)}")
    top = _number(query, "top")
    if top is not None and (top != int(top) or top < 1):
        raise _invalid(f"top={query['top']}: give a whole number from 1 on")
    most = None if top is None else int(top)
    if query.get("example", "false") not in ("true", "false"):
        raise _invalid(f"example={query['example']}: give true or false")
    if query.get("example") == "true":
        if body:
            raise _invalid("example=true goes with an empty body; leave one of them out")
        if not served.example:
            raise Refusal("NOT_FOUND", "this model has no example; send a features file")
        return served.example, most
    if not body:
        raise _invalid("the body is empty; send a features file (.npy, .npz)")
    if len(body) > served.limits.request_bytes:
        raise _invalid(
            f"the file is of {len(body)} bytes; the server takes {served.limits.request_bytes}"
        )
    rate, duration = _number(query, "rate"), _number(query, "duration")
    if body.startswith((_NPY, _ZIP)):
        features = read_features(body, served.manifest.streams, served.limits)
        rate = _known_rate(served.manifest.encoder) if rate is None else rate
        if rate is None:
            raise _invalid("rate is missing; give the features' units per second")
    elif encode and served.encodes_video:
        features, rate, duration = _encoded(served, body, encode)
    else:
        takes = ", and this model takes no video" if not served.manifest.encoder else ""
        raise _invalid(f"the file is neither .npz nor .npy{takes}; send a features file")
    rate, duration = _times(rate, duration, features)
    return Video(id="video", features=features, rate=rate, duration=duration), most


def _number(query: Mapping[str, str], name: str) -> float | None:
    """A parameter's positive number, None where it is left out."""
    if name not in query:
        return None
    try:
        value = float(query[name])
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise _invalid(f"{name}={query[name]}: give a positive number")
    return value


def _times(
    rate: float, duration: float | None, features: Mapping[str, np.ndarray]
) -> tuple[float, float]:
    """Rate and duration, which is units / rate where it is not given; float32 holds both."""
    units = len(next(iter(features.values())))
    duration = units / rate if duration is None else duration
    for name, value in (("rate", rate), ("duration", duration), ("units / rate", units / rate)):
        if not 1e-30 < value < 1e30:
            raise _invalid(f"{name} is {value:g}; give a rate in units per second and seconds")
    return float(rate), float(duration)


def _encoded(
    served: Served, body: bytes, encode: Encode
) -> tuple[dict[str, np.ndarray], float, float]:
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch, "video")
        path.write_bytes(body)
        features, rate, duration = encode(path)
    _check_units({name: len(values) for name, values in features.items()}, served.limits)
    return features, rate, duration


def read_features(body: bytes, streams: Mapping[str, int], limits: Limits) -> dict[str, np.ndarray]:
    """A features file's arrays.

    Args:
      body: a ``.npz`` file of an array [units, G] by stream, or a ``.npy`` file of one array: the
        only stream's, or [units, sum of G] with the streams beside each other in their order.
      streams: width G by stream, in order.
      limits: ``video_units``; and what an ``.npz`` unpacks to must itself fit ``request_bytes``,
        so that a small file cannot ask for much memory.

    Returns:
      [units, G] finite float32 by stream, in the order of ``streams``.

    Raises:
      Refusal: naming the array, what was expected and what was given.
    """
    try:
        if body.startswith(_NPY):
            file = io.BytesIO(body)
            joined = _array("the array", file, len(body), sum(streams.values()), limits)
            parts = np.split(joined, np.cumsum(list(streams.values()))[:-1], axis=1)
            return dict(zip(streams, parts, strict=True))
        return _read_npz(body, streams, limits)
    except UserError as error:
        raise _invalid(str(error)) from None


def _read_npz(body: bytes, streams: Mapping[str, int], limits: Limits) -> dict[str, np.ndarray]:
    # The module reads the whole directory at once, so its entries are counted before.
    if body.count(_MEMBER) > len(streams) + 16:
        raise _invalid(f"the .npz file holds too many arrays; it needs {len(streams)}")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            members = archive.infolist()
            names = [member.filename.removesuffix(".npy") for member in members]
            if sorted(names) != sorted(streams):
                raise _invalid(f"the .npz file's arrays are {names}; it needs {list(streams)}")
            unpacked = sum(member.file_size for member in members)
            if unpacked > limits.request_bytes:
                raise _invalid(
                    f"the .npz file unpacks to {unpacked} bytes; "
                    f"the server takes {limits.request_bytes}"
                )
            found = {}
            for name, member in zip(names, members, strict=True):
                # LZMA and bzip2 take memory on the file's word; NumPy writes neither.
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise _invalid(f"array {name!r}: its compression is unknown; use NumPy's")
                with archive.open(member) as file:
                    size = member.file_size
                    found[name] = _array(f"array {name!r}", file, size, streams[name], limits)
    except (UserError, Refusal):
        raise
    except Exception:  # of a broken or encrypted zip, a dozen kinds
        raise _invalid("the .npz file is damaged or encrypted; save it anew") from None
    _check_units({name: len(values) for name, values in found.items()}, limits)
    return {name: found[name] for name in streams}


def _array(what: str, file: Any, size: int, width: int, limits: Limits) -> np.ndarray:
    """[units, width] finite float32 of a .npy file of ``size`` bytes, or of a zip's member."""
    shape, fortran, dtype = read_header(file, what)
    check_numbers(what, shape, dtype, ("units", "values"))
    if shape[1] != width:
        raise _invalid(f"{what}: its shape is {list(shape)}; it must be [units, {width}]")
    _check_units({what: shape[0]}, limits)
    expected = math.prod(shape) * dtype.itemsize
    data = file.read(expected) if size - file.tell() == expected else b""
    if len(data) != expected:
        raise _invalid(f"{what}: is not as long as its header says; save it anew")
    values = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold becomes infinite
        array = np.ascontiguousarray(values, np.float32)
    if not all_finite(array):
        raise _invalid(f"{what}: holds values that are NaN, infinite or too large for float32")
    return array


def _check_units(units: Mapping[str, int], limits: Limits) -> None:
    if len(set(units.values())) != 1:
        raise _invalid(f"the streams' units are {dict(units)}; all need the same")
    if max(units.values()) > limits.video_units:
        raise _invalid(
            f"the video has {max(units.values())} units; the server takes {limits.video_units}"
        )


def _invalid(message: str) -> Refusal:
    line = " ".join(message.split())
    return Refusal("INVALID_ARGUMENT", line if len(line) <= 300 else f"{line[:299]}…")


def answer(
    served: Served,
    video: Video,
    detected: Mapping[str, np.ndarray],
    scored: Mapping[str, np.ndarray],
    top: int | None = None,
) -> dict[str, Any]:
    """The answer of ``:localize``.

    Args:
      served: the model.
      video: what was asked.
      detected: outputs of the signature ``detect`` for a batch of it alone.
      scored: outputs of ``score`` likewise.
      top: at most so many detections, the best; all by default.

    Returns:
      Plain values without NaN or infinity: what a curve has of these is None.

    Raises:
      Refusal: if the model gave the video a status.
    """
    if status := int(detected["status"][0]):
        raise _invalid(f"the video cannot be localized: {served.status[status]}")
    classes = served.manifest.classes
    count = int(detected["counts"][0])
    count = count if top is None else min(count, top)
    found = zip(
        detected["labels"][0, :count].tolist(),
        detected["segments"][0, :count].tolist(),
        detected["scores"][0, :count].tolist(),
        strict=True,
    )
    value = {
        "name": served.name,
        "version": served.version,
        "id": video.id,
        "units": video.units,
        "rate": video.rate,
        "duration": video.duration,
        "status": status,
        "detections": [
            {"label": classes[label], "segment": segment, "score": score}
            for label, segment, score in found
        ],
        "curves": _curves(served.manifest, scored),
    }
    if video.truth is not None:
        value["truth"] = [
            {"label": label, "segment": [start, end]} for label, start, end in video.truth
        ]
    return value


def _curves(manifest: "ModelManifest", scored: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Curves of the selected classes, the most probable first, by `MOST_POINTS` bins' maxima."""
    length, seconds = int(scored["grid_lengths"][0]), float(scored["unit_seconds"][0])
    thinned = -(-length // MOST_POINTS)
    starts = np.arange(0, length, thinned)
    ends = np.minimum(starts + thinned, length)

    def points(curve: np.ndarray) -> list[float | None]:
        return _plain(np.maximum.reduceat(curve[:length], starts))

    p_class = scored["p_class"]
    kinds = ["cascaded", "phi"]
    if manifest.config.localization.attention:  # else it is ones
        kinds.insert(1, "attention")
    return {
        "seconds": _plain((starts + ends) / 2 * seconds),
        "thinned": thinned,
        "classes": [
            {
                "label": manifest.classes[scored["rows"][row, 1]],
                "p_class": _plain(p_class[row : row + 1])[0],
                "streams": {
                    stream: {kind: points(scored[kind][row, number]) for kind in kinds}
                    for number, stream in enumerate(manifest.branches)
                },
                "act": points(scored["act"][row]),
            }
            for row in np.argsort(-p_class, kind="stable")[:MOST_CLASSES].tolist()
        ],
    }


def _plain(values: np.ndarray) -> list[float | None]:
    """To six digits, which is more than a screen shows; None for what is no number."""
    return [
        float(f"{value:.6g}") if math.isfinite(value) else None
        for value in np.asarray(values, np.float64).tolist()
    ]


def encode_upload(
    path: pathlib.Path,
    manifest: "ModelManifest",
    encoder_name: str | None = None,
    weights: "Weights" = None,
) -> tuple[dict[str, np.ndarray], float, float]:
    """A video file's features, by the encoder of the model's training videos.

    Args:
      path: the file.
      manifest: whose ``encoder`` says how features are made.
      encoder_name, weights: needed where they are files, as of :func:`upload_encoder`.

    Returns:
      [units, G] by stream; units per second; seconds.

    Raises:
      Refusal: if the model does not say how its features were made, or the file is no video.
      UserError: if the encoder is not the model's.
    """
    if not manifest.encoder:
        raise Refusal(
            "UNIMPLEMENTED",
            "the model does not say how its features were made, so it takes no video; "
            "send a features file",
        )
    from cpmn_tf.encoding.new_video import arrays_of, encode_one

    encoder, settings = upload_encoder(manifest, encoder_name, weights)
    try:
        encoded = encode_one(path, encoder, settings)
    except UserError as error:
        raise _invalid(str(error).replace(str(path), "the video")) from None
    return *arrays_of(manifest.streams, encoded, settings), encoded.duration


def upload_encoder(
    manifest: "ModelManifest", encoder_name: str | None = None, weights: "Weights" = None
) -> "tuple[Encoder, EncodingSettings]":
    """The encoder of the model's features, opened once; a server opens it before it is ready.

    Raises:
      UserError: if it is another one, or has to be named; see
        :func:`~cpmn_tf.encoding.new_video.described_encoder`.
    """
    given = weights if weights is None or isinstance(weights, str) else tuple(weights.items())
    described = json.dumps([manifest.encoder, manifest.streams])
    return _opened(described, encoder_name, given)


@functools.lru_cache(maxsize=2)
def _opened(
    described: str, encoder_name: str | None, weights: Any
) -> "tuple[Encoder, EncodingSettings]":
    from cpmn_tf.encoding.new_video import described_encoder, described_settings

    known, streams = json.loads(described)
    weights = dict(weights) if isinstance(weights, tuple) else weights
    encoder = described_encoder(known, encoder_name, weights, streams=streams)
    return encoder, described_settings(known)

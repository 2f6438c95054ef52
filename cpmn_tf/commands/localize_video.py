"""`cpmn-localize --video`: one new video, from its pixels to what a person looks at."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

from cpmn_tf.commands import cli
from cpmn_tf.commands.encode import parse_weights
from cpmn_tf.encoding.description import CROPS, METHODS
from cpmn_tf.errors import UserError
from cpmn_tf.evaluation.results import many
from cpmn_tf.files import replaced
from cpmn_tf.formats.detections import Detections, save_detections
from cpmn_tf.formats.subtitles import SUBTITLES, save_subtitles

if TYPE_CHECKING:
    from cpmn_tf.encoding.encode import EncodedVideo, EncodingSettings
    from cpmn_tf.encoding.encoders import Encoder
    from cpmn_tf.models import CPMN
    from cpmn_tf.serving.saved_model import Exported

FRAMES = 9  # of the picture's strip
# Of encoders and units, of which a model says what they were.
GIVEN_BY_MODEL = ("unit_frames", "fps", "flow", "flow_frames", "layer", "seed", "crops")
OF_VIDEOS = ("encoder", "weights", "annotated_video", "shown", *GIVEN_BY_MODEL)


def define_flags(values: cli.Flags) -> None:
    """The flags of a new video."""
    values.string(
        "video",
        "Instead of --data_dir: a video file. Beside --output are written .vtt and .srt subtitles "
        "and a picture.",
    )
    values.string(
        "encoder",
        "With --video: the encoder, as of cpmn-encode; by default that of the model's training "
        "videos, which has to be named where it is a file.",
    )
    values.string(
        "weights", "With --video: its weights, as of cpmn-encode; needed where they are files."
    )
    values.string("annotated_video", "With --video: a copy of it, .mp4, that shows its detections.")
    values.integer(
        "shown",
        "With --video: so many detections, the best, are in the table, subtitles and "
        "--annotated_video; all are in --output.",
        default=10,
        least=1,
    )
    unsaid = "With --video, where the model does not say how features were made: as of cpmn-encode."
    values.integer("unit_frames", unsaid)
    values.number("fps", unsaid)
    values.string("layer", unsaid)
    values.integer("seed", unsaid, least=0)
    values.choice("flow", METHODS, unsaid)
    values.integer("flow_frames", unsaid, least=1)
    values.choice("crops", map(str, CROPS), unsaid)


def run(values: cli.Flags, model: "CPMN | Exported") -> None:
    """Encodes and localizes, and writes what was found."""
    from cpmn_tf.encoding.new_video import encode_one, localize_encoded
    from cpmn_tf.models import CPMN

    encoder, settings = opened(values, model)
    encoded = encode_one(values.video, encoder, settings)
    print(encoded)
    detections = localize_encoded(model, encoded, settings)
    output = pathlib.Path(values.output)
    save_detections(output, detections, f"cpmn_tf, {values.saved_model or values.model_dir}")
    shown = detections.best(count=values.shown)
    print(table(shown))
    written = [output]
    for suffix in SUBTITLES:
        written.append(output.with_suffix(suffix))
        save_subtitles(written[-1], shown)
    if isinstance(model, CPMN):
        written.append(output.with_suffix(".png"))
        draw(written[-1], values.video, model, encoded, settings)
    if values.annotated_video:
        from cpmn_tf.encoding.annotated_video import save_annotated_video

        written.append(pathlib.Path(values.annotated_video))
        ((_, found),) = shown.by_video()
        about = {"fps": encoded.fps, "duration": encoded.duration}
        save_annotated_video(values.annotated_video, values.video, found, **about)
    print(f"{many(len(detections), 'detection')}: {', '.join(map(str, written))}")


def opened(values: cli.Flags, model: "CPMN | Exported") -> "tuple[Encoder, EncodingSettings]":
    """The encoder of the model's features, and how units are drawn."""
    from cpmn_tf.encoding.encode import EncodingSettings
    from cpmn_tf.encoding.encoders import open_encoder
    from cpmn_tf.encoding.new_video import described_encoder, described_settings

    weights = parse_weights(values.weights)
    known, streams = model.manifest.encoder, model.streams
    given: dict[str, Any] = {
        name: values[name].value for name in GIVEN_BY_MODEL if values[name].present
    }
    if known:
        if given:
            name = next(iter(given))
            raise UserError(f"--{name}: the model says what it was; leave it out")
        encoder = described_encoder(known, values.encoder, weights, streams=streams)
        return encoder, described_settings(known)
    if not values.encoder or not values.unit_frames:
        raise UserError(
            f"{values.model_dir or values.saved_model}: does not say how its features were made; "
            "give --encoder, --unit_frames and what else they were made with"
        )
    print("the model does not say how its features were made: nothing was checked")
    of_units = {name: given[name] for name in ("fps", "flow") if name in given}
    settings = EncodingSettings(
        unit_frames=values.unit_frames, crops=int(values.crops or 1), **of_units
    )
    of_network = {name: given[name] for name in ("layer", "flow_frames", "seed") if name in given}
    encoder = open_encoder(values.encoder, weights=weights, streams=tuple(streams), **of_network)
    for name, net in encoder.streams.items():
        if net.width != streams[name]:
            raise UserError(
                f"--encoder={values.encoder}: makes {net.width} values of {name}, the model takes "
                f"{streams[name]}; give the encoder of its training videos"
            )
    return encoder, settings


def table(detections: Detections) -> str:
    """The detections in the order of time, a line each."""
    lines = [f"{'start':>9s} {'end':>9s} {'score':>7s}  action"]
    for _, found in detections.by_video():
        lines += [
            f"{start:9.2f} {end:9.2f} {score:7.3f}  {label}" for label, start, end, score in found
        ]
    return "\n".join(lines)


def draw(
    path: pathlib.Path,
    video: str,
    model: "CPMN",
    encoded: "EncodedVideo",
    settings: "EncodingSettings",
) -> None:
    """Writes the picture of `cpmn-plot` with frames of the video on top."""
    from cpmn_tf import inference, plotting
    from cpmn_tf.encoding.new_video import arrays_of, frames_of

    features, rate = arrays_of(model.streams, encoded, settings)
    batch = inference.video_batch(features, model.streams, rate, encoded.duration)
    curves = plotting.collect_curves(model, batch, model.manifest.classes)
    curves = dataclasses.replace(curves, id=encoded.id)
    picture = plotting.render(plotting.figure(curves, frames_of(video, encoded, FRAMES)))
    with replaced(path) as temporary:
        temporary.write_bytes(picture)

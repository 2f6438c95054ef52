"""Encodes videos to features, which cpmn-build-records takes as they are.

Example:

  cpmn-encode --videos=clips --unit_frames=16 --output_dir=encoded --encoder=tsn \\
      --weights=rgb=tsn_rgb.caffemodel,flow=tsn_flow.caffemodel

Every --unit_frames frames become a unit, without overlap: its centre frame is seen by the spatial
network, the optical flow around it by the temporal one (Section 3.2 of the paper). Written are
features/STREAM/ID.npy, videos.csv and encoder.json; a video's id is its file's name without ending.
Videos that are finished there are not encoded again.
"""

import functools
import pathlib
import shlex
import sys

from absl import flags

from cpmn_tf.commands import cli
from cpmn_tf.encoding import require_video
from cpmn_tf.encoding.description import CROPS, METHODS
from cpmn_tf.errors import UserError
from cpmn_tf.evaluation.results import many


def define_flags(values: cli.Flags) -> None:
    """Flags of `cpmn-encode`."""
    values.separated(
        "videos", "Files, folders of videos, and .txt lists of a path a line, separated by commas."
    )
    values.string("output_dir", "Folder of the features; made if needed, gone on with if there.")
    values.integer(
        "unit_frames", "Frames per unit: the paper's n_u, 5 for THUMOS14, 16 for ActivityNet."
    )
    values.string(
        "encoder",
        "untrimmednet, tsn, a model of keras.applications by its name, or a Keras file or "
        "SavedModel.",
        default="untrimmednet",
    )
    values.string(
        "weights",
        "random (drawn by --seed), imagenet, or files by stream: rgb=FILE,flow=FILE; none for an "
        "encoder that is a file.",
    )
    values.string("layer", "The layer whose output is taken.", default="fc-action")
    values.integer("seed", "Seed of random weights.", default=0, least=0)
    values.separated("streams", "Streams to encode, separated by commas; rgb,flow by default.")
    values.number("fps", "Frames per second to draw; by default each video's own average rate.")
    values.choice(
        "flow",
        METHODS,
        "Optical flow: dis is fast, tvl1 is what UntrimmedNet and TSN were trained on.",
        default=METHODS[0],
    )
    values.integer("flow_frames", "L, frame pairs of a flow stack.", default=5, least=1)
    values.choice(
        "crops",
        map(str, CROPS),
        "The centre, or the average of corners and mirror images.",
        default=str(CROPS[0]),
    )
    values.integer("batch_size", "Units at a time, also of several videos.", default=16, least=1)
    values.string(
        "shard",
        "K/N, such as 3/64: encodes every N-th video, from the K-th on; other processes take the "
        "others, into the same folder.",
    )
    values.choice(
        "precision",
        ["float32", "mixed_float16", "mixed_bfloat16"],
        "Precision of the networks; features are float32.",
        default="float32",
    )
    values.separated(
        "devices",
        "Devices that batches are divided among, such as GPU:0,GPU:1; TensorFlow's choice by "
        "default.",
    )


def run(values: cli.Flags) -> None:
    """Encodes, and says what comes next."""
    cli.require(values, "videos", "output_dir", "unit_frames")
    weights = parse_weights(values.weights)
    require_video()
    cli.load_tensorflow()

    from cpmn_tf.encoding.encode import EncodingSettings, encode_videos
    from cpmn_tf.encoding.encoders import open_encoder

    settings = EncodingSettings(
        unit_frames=values.unit_frames, fps=values.fps, flow=values.flow, crops=int(values.crops)
    )
    encoder = open_encoder(
        values.encoder,
        weights=weights,
        layer=values.layer,
        flow_frames=values.flow_frames,
        seed=values.seed,
        streams=tuple(values.streams) or ("rgb", "flow"),
        precision=values.precision,
        devices=values.devices,
    )
    for stream, net in encoder.streams.items():
        if net.left_over:
            print(f"{stream}: layers of the file that are not used: {', '.join(net.left_over)}")
    if any(net.channels != 3 for net in encoder.streams.values()):
        print(f"optical flow: {values.flow}, {values.flow_frames} frame pairs per unit")
    done = encode_videos(
        values.videos,
        output_dir=values.output_dir,
        streams=encoder.streams,
        settings=settings,
        batch_size=values.batch_size,
        shard=values.shard,
        report=functools.partial(print, flush=True),
    )
    counts = {"encoded": done.encoded, "finished before": done.finished, "failed": done.failed}
    print(", ".join(f"{len(ids)} {what}" for what, ids in counts.items()))
    if done.encoded or done.finished:
        print(f"next: {next_command(values.output_dir, values.unit_frames)}")
    if done.failed:
        first = next(iter(done.failed.values()))
        raise UserError(f"{first} ({many(len(done.failed), 'video')} not encoded)")


def parse_weights(text: str | None) -> str | dict[str, str] | None:
    """`random`, `imagenet`, or the files by stream; None if empty.

    Raises:
      absl.flags.Error: if it is none of these.
    """
    if not text or text in ("random", "imagenet"):
        return text or None
    files = dict(part.partition("=")[::2] for part in text.split(","))
    if not all(files) or not all(files.values()):
        raise flags.ValidationError(
            f"--weights={text}: give random, imagenet, or rgb=FILE,flow=FILE"
        )
    return files


def next_command(output_dir: str, unit_frames: int) -> str:
    """The command that builds records of the features, with what is not known in capitals."""
    folder = pathlib.Path(output_dir)
    arguments = {
        "features_dir": folder / "features",
        "annotations": "ANNOTATIONS",
        "video_info": folder / "videos.csv",
        "unit_frames": unit_frames,
        "output_dir": "RECORDS",
    }
    words = (shlex.quote(f"--{name}={value}") for name, value in arguments.items())
    return " ".join(["cpmn-build-records --source=folders", *words])


main = functools.partial(cli.execute, "cpmn-encode", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())

"""Videos that an export is tried with, drawn or of a data set: as arrays, and as records."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cpmn_tf.data import pipeline, records
from cpmn_tf.data.manifest import Manifest, StreamSpec
from cpmn_tf.data.records import VideoRecord
from cpmn_tf.errors import UserError
from cpmn_tf.files import write_json
from cpmn_tf.serving import batches
from cpmn_tf.training.model_folder import ModelManifest

RATE = 6.25  # units per second of drawn videos


def drawn(streams: Mapping[str, int], lengths: Sequence[int], seed: int = 0) -> list[VideoRecord]:
    """Videos of normally distributed features, one of each length in units."""
    rng = np.random.default_rng(seed)
    return [
        VideoRecord(
            id=f"drawn, {units} units",
            duration=units / RATE,
            rate=RATE,
            labels=(),
            features={
                name: rng.standard_normal((units, width), np.float32)
                for name, width in streams.items()
            },
        )
        for units in lengths
    ]


def of_data_set(data_dir: str | os.PathLike, video: str, model: ModelManifest) -> VideoRecord:
    """A video of a data set that the model takes; its arrays are as the record holds them.

    Args:
      data_dir: the data set's folder.
      video: its id, in any split.
      model: whose streams and classes the data set must have.

    Raises:
      UserError: if there is no such video, or the data set is of another model.
    """
    manifest = Manifest.load(data_dir)
    model.check_data(manifest)
    for name in manifest.splits:
        split = pipeline.Split.open(data_dir, name).only([video])
        if not len(split):
            continue
        dataset = pipeline.whole_videos(split, segments=True)
        (batch,) = records.readable(dataset.as_numpy_iterator(), manifest, name)
        times = zip(batch["segments"][0].tolist(), batch["segment_labels"][0].tolist(), strict=True)
        return VideoRecord(
            id=video,
            duration=float(batch["duration"][0]),
            rate=float(batch["rate"][0]),
            labels=tuple(np.flatnonzero(batch["labels"][0]).tolist()),
            segments=tuple((start, end, label) for (start, end), label in times),
            features={name: values[0] for name, values in batch["features"].items()},
        )
    raise UserError(f"`example={video}`: {data_dir} has no such video; give the id of one it has")


def write(video: VideoRecord, classes: Sequence[str], folder: pathlib.Path) -> None:
    """Writes a video as ``example.npz``, arrays by stream, and ``example.json``, the rest."""
    np.savez(folder / "example.npz", **video.features)  # type: ignore[arg-type]
    said: dict[str, Any] = {
        "id": video.id,
        "rate": video.rate,
        "duration": video.duration,
        "labels": [classes[label] for label in video.labels],
        "segments": [
            {"label": classes[label], "segment": [start, end]}
            for start, end, label in video.segments
        ],
    }
    write_json(folder / "example.json", said)


def arrays(videos: Sequence[VideoRecord], streams: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The inputs of the signature ``detect``: videos padded with zeros to the longest."""
    alone = []
    for video in videos:
        features = {name: np.asarray(video.features[name], np.float32) for name in streams}
        alone.append(batches.of_video(features, video.rate, video.duration))
    return batches.joined(alone)


def examples(
    videos: Sequence[VideoRecord], streams: Mapping[str, int], classes: Sequence[str]
) -> list[bytes]:
    """The inputs of the signature ``serialized``: float32 records."""
    specs = tuple(StreamSpec(name, width) for name, width in streams.items())
    manifest = Manifest(
        streams=specs, dtype="float32", rate=None, classes=tuple(classes), splits={}
    )
    return [
        records.encode(
            dataclasses.replace(video, features={name: video.features[name] for name in streams}),
            manifest,
        )
        for video in videos
    ]

"""Shows what is in a data set of records.

  cpmn-inspect-records --data_dir=/data/watch
  cpmn-inspect-records --data_dir=/data/watch --id=person01_left_000
  cpmn-inspect-records --data_dir=/data/watch --verify

--verify reads every byte: it recomputes the shards' SHA-256, parses every record and holds it
against the manifest and annotations.json.
"""

import functools
import json
import statistics
import sys
from collections.abc import Iterator
from typing import Any

from absl import flags

from cpmn_tf.commands import cli
from cpmn_tf.data.manifest import Manifest
from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import Annotations, Video, load_annotations


def define_flags(values: flags.FlagValues) -> None:
    """Defines this command's flags."""
    flags.DEFINE_string("data_dir", None, "Folder of the records.", flag_values=values)
    flags.DEFINE_string("id", None, "Show this video's record.", flag_values=values)
    flags.DEFINE_bool("verify", False, "Read and check everything.", flag_values=values)
    flags.DEFINE_bool("json", False, "Print JSON.", flag_values=values)


def run(values: flags.FlagValues) -> None:
    """Prints what was asked for.

    Raises:
      UserError: if the data set is broken; names the file and the video.
    """
    cli.require(values, "data_dir")
    manifest = Manifest.load(values.data_dir)
    if values.id is not None:
        content, text = describe_video(manifest, values.id), _video_text
    else:
        annotations = load_annotations(manifest.folder / "annotations.json")
        content, text = describe(manifest, annotations), _text
        if values.verify:
            content["verified"] = verify(manifest, annotations)
    print(json.dumps(content, indent=1, ensure_ascii=False) if values.json else text(content))


def describe(manifest: Manifest, annotations: Annotations) -> dict[str, Any]:
    """What is in the data set, as plain values; durations in seconds."""
    splits = {}
    for split, shards in manifest.splits.items():
        manifest.shard_paths(split)  # all there, and of their size
        videos = [video for video in annotations.videos.values() if video.subset == split]
        durations = [video.duration for video in videos if video.duration is not None]
        splits[split] = {
            "videos": manifest.num_videos(split),
            "units": sum(shard.units for shard in shards),
            "hours": sum(durations) / 3600,
            "seconds": {
                "min": min(durations, default=None),
                "median": statistics.median(durations) if durations else None,
                "max": max(durations, default=None),
            },
            "bytes": sum(shard.bytes for shard in shards),
            "shards": {shard.file: shard.bytes for shard in shards},
            "fingerprint": manifest.fingerprint(split),
            "classes": {name: _counts(videos, name) for name in manifest.classes},
        }
    return {
        "data_dir": str(manifest.folder),
        "schema_version": manifest.schema_version,
        "source": dict(manifest.source),
        "streams": {spec.name: spec.width for spec in manifest.streams},
        "dtype": manifest.dtype,
        "units_per_second": manifest.rate,
        "splits": splits,
    }


def _counts(videos: list[Video], name: str) -> dict[str, int]:
    return {
        "videos": sum(name in video.labels for video in videos),
        "instances": sum(item.label == name for video in videos for item in video.instances),
    }


def _text(content: dict[str, Any]) -> str:
    streams = ", ".join(f"{name} {width}" for name, width in content["streams"].items())
    rate = content["units_per_second"]
    lines = [
        f"{content['data_dir']}: schema version {content['schema_version']}",
        f"source: {json.dumps(content['source'], ensure_ascii=False)}",
        f"streams: {streams}; {content['dtype']}; units per second: {rate or 'differ'}",
    ]
    for split, part in content["splits"].items():
        seconds, shards = part["seconds"], part["shards"]
        lines.append(
            f"{split}: {part['videos']} videos, {part['units']} units, {part['hours']:.2f} hours, "
            f"{len(shards)} shards of {min(shards.values()) / 2**20:.1f} to "
            f"{max(shards.values()) / 2**20:.1f} MiB"
        )
        if seconds["min"] is not None:
            lines.append(
                f"  seconds per video: min {seconds['min']:.1f}, "
                f"median {seconds['median']:.1f}, max {seconds['max']:.1f}"
            )
        for name, count in part["classes"].items():
            known = f", {count['instances']} instances" if count["instances"] else ""
            lines.append(f"  {name}: {count['videos']} videos{known}")
    if "verified" in content:
        lines.append(f"verified: {content['verified']} records are whole")
    return "\n".join(lines)


def _records(manifest: Manifest, split: str) -> Iterator[dict[str, Any]]:
    """Parsed records of a split, instances included, as NumPy values."""
    cli.load_tensorflow()
    import tensorflow as tf

    from cpmn_tf.data import records

    dataset = tf.data.TFRecordDataset(manifest.shard_paths(split))
    try:
        yield from dataset.map(
            lambda serialized: records.parse_with_segments(serialized, manifest)
        ).as_numpy_iterator()
    except records.READ_ERRORS as error:
        raise records.explain_read_error(error, manifest, split) from None


def verify(manifest: Manifest, annotations: Annotations) -> int:
    """Reads and checks everything; returns the number of records.

    Raises:
      UserError: on the first thing that is wrong.
    """
    import numpy as np

    from cpmn_tf.files import file_sha256

    total = 0
    for split, shards in manifest.splits.items():
        manifest.shard_paths(split)
        for shard in shards:
            path = manifest.folder / shard.file
            if file_sha256(path) != shard.sha256:
                broken = f"{path}: its SHA-256 is not the manifest's; copy or build it anew"
                for _ in _records(manifest, split):  # a broken record is the better message
                    pass
                raise UserError(broken)
        expected = {key for key, video in annotations.videos.items() if video.subset == split}
        for record in _records(manifest, split):
            key = record["id"].decode()
            if key not in expected:
                raise UserError(
                    f"{manifest.folder}: video {key!r} stands twice in {split!r}, or is not in "
                    "annotations.json; build the records anew"
                )
            expected.remove(key)
            _check_record(manifest, annotations.videos[key], record)
            for name, values in record["features"].items():
                if not np.isfinite(values).all():
                    raise UserError(
                        f"{manifest.folder}: video {key!r}: {name} holds NaN or infinite values; "
                        "build the records anew"
                    )
            total += 1
        if expected:
            raise UserError(
                f"{manifest.folder}: video {min(expected)!r} of annotations.json has no record; "
                "build the records anew"
            )
    return total


def _check_record(manifest: Manifest, video: Video, record: dict[str, Any]) -> None:
    """The record must hold the annotations' labels and instances."""
    names = manifest.classes
    labels = {names[index] for index in record["labels"].nonzero()[0]}
    instances = [names[index] for index in record["segment_labels"]]
    if labels != set(video.labels) or instances != [item.label for item in video.instances]:
        raise UserError(
            f"{manifest.folder}: video {video.id!r}: its record and annotations.json disagree "
            "about its labels; build the records anew"
        )


def describe_video(manifest: Manifest, video_id: str) -> dict[str, Any]:
    """What one record holds, as plain values.

    Raises:
      UserError: if there is no such video.
    """
    for split in manifest.splits:
        for record in _records(manifest, split):
            if record["id"].decode() == video_id:
                return _plain(manifest, split, record)
    raise UserError(f"{manifest.folder}: has no video {video_id!r}; check --id")


def _plain(manifest: Manifest, split: str, record: dict[str, Any]) -> dict[str, Any]:
    names = manifest.classes
    return {
        "id": record["id"].decode(),
        "split": split,
        "units": int(record["length"]),
        "seconds": float(record["duration"]),
        "units_per_second": float(record["rate"]),
        "labels": [names[index] for index in record["labels"].nonzero()[0]],
        "instances": [
            {"segment": [round(float(second), 4) for second in segment], "label": names[label]}
            for segment, label in zip(record["segments"], record["segment_labels"], strict=True)
        ],
        "features": {
            name: {
                "width": values.shape[1],
                "min": float(values.min()),
                "mean": float(values.mean(dtype="float64")),
                "max": float(values.max()),
            }
            for name, values in record["features"].items()
        },
    }


def _video_text(content: dict[str, Any]) -> str:
    lines = [
        f"{content['id']}: {content['split']}, {content['units']} units, "
        f"{content['seconds']:.2f} seconds, {content['units_per_second']:g} units per second",
        f"labels: {', '.join(content['labels']) or 'none'}",
    ]
    for item in content["instances"]:
        start, end = item["segment"]
        lines.append(f"  {start:8.2f} - {end:8.2f} seconds  {item['label']}")
    for name, part in content["features"].items():
        lines.append(
            f"{name}: {part['width']} values per unit, {part['min']:.4g} to {part['max']:.4g}, "
            f"mean {part['mean']:.4g}"
        )
    return "\n".join(lines)


main = functools.partial(cli.execute, "cpmn-inspect-records", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())

"""Shows what is in a data set of records.

  cpmn-inspect-records --data_dir=/data/watch
  cpmn-inspect-records --data_dir=/data/watch --id=person01_left_000

Whether the records are whole, and training would go well, cpmn-validate-records says.
"""

import functools
import json
import os
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from cpmn_tf.commands import cli
from cpmn_tf.data.manifest import Manifest
from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import load_annotations


def define_flags(values: cli.Flags) -> None:
    """Defines this command's flags."""
    values.string("data_dir", "Folder of the records.")
    values.string("id", "Show this video's record.")
    values.boolean("json", "Print JSON.")


def run(values: cli.Flags) -> None:
    """Prints what was asked for.

    Raises:
      UserError: if the data set is broken; names the file and the video.
    """
    cli.require(values, "data_dir")
    manifest = Manifest.load(values.data_dir)
    if values.id is not None:
        content, text = describe_video(manifest, values.id), _video_text
    else:
        content, text = describe(manifest), _text
    print(json.dumps(content, indent=1, ensure_ascii=False) if values.json else text(content))


def describe(manifest: Manifest) -> dict[str, Any]:
    """What is in the data set, as plain values; durations in seconds."""
    annotated = load_annotations(os.path.join(manifest.folder, "annotations.json")).videos.values()
    splits = {}
    for split, shards in manifest.splits.items():
        manifest.shard_paths(split)  # all there, and of their size
        videos = [video for video in annotated if video.subset == split]
        durations = [video.duration or 0.0 for video in videos] or [0.0]
        instances = [item.label for video in videos for item in video.instances]
        splits[split] = {
            "videos": manifest.num_videos(split),
            "units": sum(shard.units for shard in shards),
            "hours": sum(durations) / 3600,
            "seconds": {
                "min": min(durations),
                "median": statistics.median(durations),
                "max": max(durations),
            },
            "bytes": sum(shard.bytes for shard in shards),
            "shards": {shard.file: shard.bytes for shard in shards},
            "fingerprint": manifest.fingerprint(split),
            "classes": {
                name: {
                    "videos": sum(name in video.labels for video in videos),
                    "instances": instances.count(name),
                }
                for name in manifest.classes
            },
        }
    return {
        "data_dir": manifest.folder,
        "schema_version": manifest.schema_version,
        "source": dict(manifest.source),
        "streams": {spec.name: spec.width for spec in manifest.streams},
        "dtype": manifest.dtype,
        "units_per_second": manifest.rate,
        "splits": splits,
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
        lines += [
            f"{split}: {part['videos']} videos, {part['units']} units, {part['hours']:.2f} hours, "
            f"{len(shards)} shards of {min(shards.values()) / 2**20:.1f} to "
            f"{max(shards.values()) / 2**20:.1f} MiB",
            f"  seconds per video: min {seconds['min']:.1f}, median {seconds['median']:.1f}, "
            f"max {seconds['max']:.1f}",
        ]
        for name, count in part["classes"].items():
            known = f", {count['instances']} instances" if count["instances"] else ""
            lines.append(f"  {name}: {count['videos']} videos{known}")
    return "\n".join(lines)


def describe_video(manifest: Manifest, video_id: str) -> dict[str, Any]:
    """What one record holds, as plain values.

    Raises:
      UserError: if there is no such video.
    """
    cli.load_tensorflow()
    from tfrecords_tools.validation import shard_records

    for split, shards in manifest.splits.items():
        for shard in shards:
            for record in shard_records(manifest, split, shard):
                if record["id"].decode() == video_id:
                    return {"id": video_id, "split": split, **_plain(record, manifest.classes)}
    raise UserError(f"{manifest.folder}: has no video {video_id!r}; check --id")


def _plain(record: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {
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

"""Builds a data set of records from a source's features and annotations.

  cpmn-build-records --source=watch --output_dir=/data/watch
  cpmn-build-records --source=folders --features_dir=features --annotations=annotations.json \\
      --unit_frames=16 --output_dir=/data/mine

The source `folders` reads features/STREAM/ID.npy or features/SUBSET/STREAM/ID.npy, one [T, G] array
per video and stream, T units of --unit_frames frames each; any number of streams, any widths.
--annotations is ActivityNet's JSON; segments may be missing, labels are enough to train.
The source `watch` is embedded: smartwatch recordings of shoulder exercises.
"""

import dataclasses
import os
import pathlib
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
from absl import flags

from cpmn_tf.commands import cli
from cpmn_tf.data.annotations import Annotations, Video, check_id
from cpmn_tf.data.manifest import Manifest, StreamSpec, check_classes, check_split, check_stream
from cpmn_tf.data.schema import VideoRecord, float16_overflow, float16_zeros
from cpmn_tf.errors import UserError
from cpmn_tf.files import replaced
from tfrecords_tools.sources import SOURCES, Source, SourceVideo, open_source
from tfrecords_tools.writing import write_metadata, write_shards

PROGRAM = "cpmn-build-records"
TRIM = 2  # units by which a video's streams may differ in length


class _NeedsFloat32(Exception):
    """A value met while float16 was tried."""


def define_flags(values: flags.FlagValues) -> None:
    """Defines this command's flags."""
    string, integer = flags.DEFINE_string, flags.DEFINE_integer
    flags.DEFINE_enum(
        "source", "folders", sorted(SOURCES), "What is read; see above.", flag_values=values
    )
    string("output_dir", None, "Folder of the records, made by this command.", flag_values=values)
    string("features_dir", None, "folders: the features' folder.", flag_values=values)
    string("annotations", None, "folders: ActivityNet-style JSON.", flag_values=values)
    integer("unit_frames", None, "folders: frames per unit.", lower_bound=1, flag_values=values)
    flags.DEFINE_float(
        "fps",
        None,
        "folders: frames per second of the videos whose annotations do not say.",
        lower_bound=1e-3,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "skip_missing",
        False,
        "folders: leave out annotated videos without features, and count them.",
        flag_values=values,
    )
    integer("seed", 0, "watch: seed of the composition.", lower_bound=0, flag_values=values)
    flags.DEFINE_enum(
        "dtype",
        "auto",
        ["auto", "float16", "float32"],
        "Type on disk; auto takes float16 unless values overflow or become zero in it.",
        flag_values=values,
    )
    integer(
        "shards",
        None,
        "Shards per split; by default one per 128 MiB.",
        lower_bound=1,
        upper_bound=1000,
        flag_values=values,
    )
    string(
        "holdout",
        None,
        "Regular expression: videos of --holdout_from whose whole id matches go to the split "
        "--holdout_to, such as 'person05_.*' for all recordings of a person.",
        flag_values=values,
    )
    string("holdout_from", "training", "Subset that --holdout takes from.", flag_values=values)
    string("holdout_to", "validation", "New split of --holdout.", flag_values=values)
    flags.DEFINE_bool(
        "overwrite", False, "Replace a data set that stands at --output_dir.", flag_values=values
    )
    cli.required(values, "output_dir")


def run(values: flags.FlagValues) -> None:
    """Builds the data set.

    Raises:
      UserError: naming the file, the video and the mend; nothing is left behind then.
    """
    output = pathlib.Path(values.output_dir)
    _check_output(output, values.overwrite)
    source = open_source(values.source, values)
    for video in source.annotations.videos.values():
        check_id(video.id)
        check_split(video.subset)
    check_classes(source.annotations.classes)
    splits = assign_splits(
        source.annotations, values.holdout, values.holdout_from, values.holdout_to
    )
    with replaced(output) as folder:
        folder.mkdir()
        build = _Build(source, splits, folder, values.shards)
        manifest = build.run(values.dtype, _facts(values, source))
        if output.exists():  # only with --overwrite; the old folder goes away with the scratch
            os.replace(output, folder.parent / "old")
    _summary(manifest, build, output)


def _check_output(output: pathlib.Path, overwrite: bool) -> None:
    if not output.exists() and not output.is_symlink():
        return
    if not output.is_dir() or output.is_symlink():
        raise UserError(f"{output}: is not a folder; choose another --output_dir")
    if not any(output.iterdir()):
        return
    if not overwrite:
        raise UserError(f"{output}: is there already; add --overwrite or choose another folder")
    if not (output / "manifest.json").is_file():
        raise UserError(f"{output}: holds no data set, so that it is not overwritten; remove it")


def assign_splits(
    annotations: Annotations, holdout: str | None, taken_from: str, given_to: str
) -> dict[str, str]:
    """The split of each video: its subset, or ``given_to`` for those held out.

    Raises:
      UserError: if ``holdout`` matches no video or every video, or ``given_to`` is taken.
    """
    splits = {video.id: video.subset for video in annotations.videos.values()}
    if holdout is None:
        return splits
    try:
        pattern = re.compile(holdout)
    except re.error as error:
        raise UserError(f"--holdout={holdout}: is not a regular expression ({error})") from None
    check_split(given_to)
    if given_to in splits.values():
        raise UserError(f"the subset {given_to!r} is there already; choose another --holdout_to")
    candidates = annotations.subset(taken_from).videos
    held = [key for key in candidates if pattern.fullmatch(key)]
    if not held or len(held) == len(candidates):
        raise UserError(
            f"--holdout={holdout}: matches {len(held)} of the {len(candidates)} videos of "
            f"{taken_from!r}; it must match some and leave some"
        )
    return {**splits, **dict.fromkeys(held, given_to)}


def _facts(values: flags.FlagValues, source: Source) -> dict:
    facts = dict(source.facts)
    if values.holdout is not None:
        facts["holdout"] = {
            "pattern": values.holdout,
            "from": values.holdout_from,
            "to": values.holdout_to,
        }
    return facts


class _Build:
    """One data set in the making; counts what is worth telling."""

    def __init__(
        self, source: Source, splits: dict[str, str], folder: pathlib.Path, shards: int | None
    ):
        self.source, self.splits, self.folder, self.shards = source, splits, folder, shards
        self._reset()

    def _reset(self) -> None:
        self.written: dict[str, Video] = {}
        self.rates: Counter[float] = Counter()
        self.trimmed = self.zeros = self.odd_lengths = 0
        self.dtype_reason = ""

    def run(self, dtype: str, facts: dict) -> Manifest:
        """Writes all; with dtype ``auto`` starts over in float32 where float16 would lose."""
        if dtype != "auto":
            return self._write(dtype, False, facts)
        try:
            return self._write("float16", True, facts)
        except _NeedsFloat32 as reason:
            print(f"float32 it is, since {reason}; starting over", flush=True)
            for path in self.folder.iterdir():
                path.unlink()
            self._reset()
            self.dtype_reason = f", since {reason}"
        return self._write("float32", False, facts)

    def _write(self, dtype: str, strict: bool, facts: dict) -> Manifest:
        videos = self.source.videos(self.splits)
        first = next(videos, None)
        if first is None:
            raise UserError("the source has no video; check the annotations and the features")
        manifest = Manifest(
            streams=tuple(
                StreamSpec(check_stream(name), values.shape[1])
                for name, values in first.features.items()
            ),
            dtype=dtype,
            rate=None,
            classes=self.source.annotations.classes,
            splits={},
            source=facts,
        )
        records = self._records(_chain(first, videos), dtype, strict)
        manifest = write_shards(self.folder, manifest, records, shards=self.shards)
        if len(self.rates) == 1:
            manifest = dataclasses.replace(manifest, rate=next(iter(self.rates)))
        # In the annotations' order, so that the file does not depend on the source's.
        videos = {key: self.written[key] for key in self.splits if key in self.written}
        write_metadata(self.folder, manifest, videos)
        return manifest

    def _records(
        self, videos: Iterator[SourceVideo], dtype: str, strict: bool
    ) -> Iterator[tuple[str, VideoRecord]]:
        progress = _Progress(len(self.splits))
        for video in videos:
            features, trimmed = align(video)
            self.trimmed += trimmed
            if dtype == "float16":
                self._check_float16(video.id, features, strict)
            yield self.splits[video.id], self._record(video, features)
            progress.step()

    def _check_float16(self, key: str, features: dict[str, np.ndarray], strict: bool) -> None:
        for name, values in features.items():
            overflow = float16_overflow(values)
            zeros = "" if overflow else float16_zeros(values)
            if (overflow or zeros) and strict:
                raise _NeedsFloat32(f"in video {key!r}, {name}, {overflow or zeros}")
            if overflow:
                raise UserError(f"video {key!r}: {name}: {overflow}; use --dtype=float32")
            self.zeros += bool(zeros)

    def _record(self, video: SourceVideo, features: dict[str, np.ndarray]) -> VideoRecord:
        known = self.source.annotations.videos[video.id]
        index = {name: place for place, name in enumerate(self.source.annotations.classes)}
        units = len(next(iter(features.values())))
        spanned = units / video.rate  # seconds
        duration = known.duration or spanned
        self.odd_lengths += abs(spanned - duration) > max(2.0 / video.rate, 0.1 * duration)
        self.rates[video.rate] += 1
        self.written[video.id] = dataclasses.replace(
            known, subset=self.splits[video.id], duration=duration
        )
        return VideoRecord(
            id=video.id,
            duration=duration,
            rate=video.rate,
            labels=tuple(index[label] for label in known.labels),
            segments=tuple((item.start, item.end, index[item.label]) for item in known.instances),
            features=features,
        )


def _chain(first: SourceVideo, rest: Iterator[SourceVideo]) -> Iterator[SourceVideo]:
    yield first
    yield from rest


def align(video: SourceVideo) -> tuple[dict[str, np.ndarray], bool]:
    """The video's streams trimmed to the shortest, and whether anything was cut.

    Raises:
      UserError: if the streams differ by more than ``TRIM`` units, or there is no unit.
    """
    lengths = {name: len(values) for name, values in video.features.items()}
    shortest, longest = min(lengths.values()), max(lengths.values())
    listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
    if shortest == 0:
        raise UserError(f"video {video.id!r}: has no unit ({listed}); encode it anew or remove it")
    if longest - shortest > TRIM:
        raise UserError(
            f"video {video.id!r}: its streams' units differ by more than {TRIM} ({listed}); "
            "encode it anew"
        )
    features = {name: values[:shortest] for name, values in video.features.items()}
    return features, longest != shortest


class _Progress:
    """A line every few seconds, not every video."""

    def __init__(self, total: int):
        self._total, self._done, self._last = total, 0, time.monotonic()

    def step(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._last >= 5:
            self._last = now
            print(f"{self._done} of {self._total} videos", flush=True)


def _summary(manifest: Manifest, build: _Build, output: pathlib.Path) -> None:
    for split, shards in manifest.splits.items():
        videos = manifest.num_videos(split)
        units = sum(shard.units for shard in shards)
        size = sum(shard.bytes for shard in shards) / 2**20
        print(f"{split}: {videos} videos, {units} units, {len(shards)} shards, {size:.1f} MiB")
    streams = ", ".join(f"{spec.name} {spec.width}" for spec in manifest.streams)
    print(f"streams: {streams}; {manifest.dtype}{build.dtype_reason}")
    rate = "differs" if manifest.rate is None else f"{manifest.rate:g}"
    print(f"classes: {len(manifest.classes)}; units per second: {rate}")
    print(f"trimmed to the shorter stream: {build.trimmed} videos")
    if build.zeros:
        print(f"float16 was forced: in {build.zeros} streams values that are not zero became zero")
    if build.odd_lengths:
        print(
            f"warning: {build.odd_lengths} videos' units and durations disagree by over 10 %; "
            "check --unit_frames and fps"
        )
    for note in build.source.notes:
        print(note)
    print(f"records are in {output}; next: cpmn-train --data_dir={output} --model_dir=MODEL_DIR")


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return cli.execute(PROGRAM, __doc__, define_flags, run, argv)


def console() -> None:
    """Entry point of the console script."""
    sys.exit(main())


if __name__ == "__main__":
    console()

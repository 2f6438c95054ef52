"""Builds a data set of records from a source's features and annotations.

  cpmn-build-records --source=watch --output_dir=/data/watch
  cpmn-build-records --features_dir=features --annotations=annotations.json --unit_frames=16 \\
      --fps=25 --output_dir=/data/mine

--source says what is read:

  folders    features/[SUBSET/]STREAM/ID.npy, or features/[SUBSET/]ID.npy with --split_at; .npz and
             .csv as well; --annotations is ActivityNet's JSON, segments or not
  labels     the same with no more than a CSV of "video,label|label" lines
  thumos14   the same with THUMOS14's official annotation text files
  wtalc      W-TALC's DATASET-FEATURES-JOINTFeatures.npy and DATASET-Annotations
  bsn        BSN's one CSV per video, anet_anno_action.json and video_info_new.csv
  youtube8m  YouTube-8M's frame-level TFRecords
  simulated  simulated scores of THUMOS14's size along real or drawn timelines; not real features
  watch      smartwatch recordings of shoulder exercises, embedded

cpmn-validate-records takes the same flags and says first what is wrong. docs/your_own_data.md has
an example of each.
"""

import functools
import os
import pathlib
import sys
from typing import TYPE_CHECKING

from absl import flags

from cpmn_tf.commands import cli
from cpmn_tf.data.manifest import Manifest, check_classes, check_split
from cpmn_tf.errors import UserError
from cpmn_tf.files import replaced
from cpmn_tf.formats.annotations import check_id
from tfrecords_tools.source_flags import define_source_flags, source_settings
from tfrecords_tools.sources import Source, open_source

if TYPE_CHECKING:
    from tfrecords_tools.building import Build


def define_flags(values: cli.Flags) -> None:
    """Defines this command's flags."""
    string, integer = flags.DEFINE_string, flags.DEFINE_integer
    define_source_flags(values)
    string("output_dir", None, "Folder of the records, made by this command.", flag_values=values)
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


def run(values: cli.Flags) -> None:
    """Builds the data set.

    Raises:
      UserError: naming the file, the video and the mend; nothing is left behind then.
    """
    cli.require(values, "output_dir")
    output = pathlib.Path(values.output_dir)
    _check_output(output, values.overwrite)
    cli.load_tensorflow()
    import tensorflow as tf

    from tfrecords_tools.building import Build, assign_splits

    source = open_source(values.source, source_settings(values))
    for video in source.annotations.videos.values():
        check_id(video.id)
        check_split(video.subset)
    check_classes(source.annotations.classes)
    splits = assign_splits(
        source.annotations, values.holdout, values.holdout_from, values.holdout_to
    )
    with replaced(output) as folder:
        folder.mkdir()
        build = Build(source=source, splits=splits, folder=folder, shards=values.shards)
        try:
            manifest = build.run(values.dtype, _facts(values, source))
        except (OSError, tf.errors.OpError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.message
            raise UserError(f"{output}: cannot be written ({reason}); check its disk") from error
        if output.exists():  # only with --overwrite; the old folder goes away with the scratch
            os.replace(output, folder.parent / "old")
    _summary(manifest, build, source.notes, output)


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


def _facts(values: flags.FlagValues, source: Source) -> dict:
    facts = dict(source.facts)
    if values.holdout is not None:
        facts["holdout"] = {
            "pattern": values.holdout,
            "from": values.holdout_from,
            "to": values.holdout_to,
        }
    return facts


def _summary(manifest: Manifest, build: "Build", notes: list[str], output: pathlib.Path) -> None:
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
    for note in notes:
        print(note)
    print(f"records are in {output}; next: cpmn-train --data_dir={output} --model_dir=MODEL_DIR")


main = functools.partial(cli.execute, "cpmn-build-records", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())

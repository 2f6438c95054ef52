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
import sys

from absl import flags

from cpmn_tf.commands import cli
from tfrecords_tools.source_flags import define_source_flags, source_settings


def define_flags(values: cli.Flags) -> None:
    """Defines this command's flags."""
    define_source_flags(values)
    values.string("output_dir", "Folder of the records, made by this command.")
    values.choice(
        "dtype",
        ["auto", "float16", "float32"],
        "Type on disk; auto takes float16 unless values overflow or become zero in it.",
        default="auto",
    )
    values.integer("shards", "Shards per split; by default one per 128 MiB.", least=1)
    values.string(
        "holdout",
        "Regular expression: videos of --holdout_from whose whole id matches go to the split "
        "--holdout_to, such as 'person05_.*' for all recordings of a person.",
    )
    values.string("holdout_from", "Subset that --holdout takes from.", default="training")
    values.string("holdout_to", "New split of --holdout.", default="validation")
    values.string(
        "shard",
        "K/N, such as 3/64: builds part K of N, every N-th video, into OUTPUT_DIR-parts; part by "
        "part in any process or machine, with the same flags.",
    )
    values.boolean("join", "Join the parts in OUTPUT_DIR-parts to the data set, then remove them.")
    values.string(
        "cluster",
        "local, or the address of a Ray cluster: builds --parts in its processes and joins them; a "
        "part whose process dies is built again (extra [cluster]).",
    )
    values.integer("parts", "With --cluster: into how many parts.", least=1)
    values.integer(
        "workers", "With --cluster=local: processes, as many as cores by default.", least=1
    )
    values.boolean(
        "overwrite", "Replace a data set that is at --output_dir, or a part of other settings."
    )


def run(values: cli.Flags) -> None:
    """Builds the data set."""
    cli.require(values, "output_dir")
    if values.shard is not None and values.join:
        raise flags.ValidationError("--shard builds a part, --join joins all; give one of them")
    if values.cluster and (values.shard is not None or values.join):
        raise flags.ValidationError("--cluster builds all parts and joins them; leave out the rest")
    if bool(values.cluster) != bool(values.parts):
        raise flags.ValidationError("give both --cluster and --parts, or neither")
    if values.workers and values.cluster != "local":
        raise flags.ValidationError("--workers goes with --cluster=local only")
    cli.load_tensorflow()
    from tfrecords_tools import building
    from tfrecords_tools.cluster import build_on_cluster

    options = {
        "output_dir": values.output_dir,
        "source": values.source,
        "dtype": values.dtype,
        "holdout": values.holdout,
        "holdout_from": values.holdout_from,
        "holdout_to": values.holdout_to,
        "overwrite": values.overwrite,
        "allow_empty_classes": values.allow_empty_classes,
        **source_settings(values),
    }
    if values.shard is not None:
        print(building.build_part(shard=values.shard, **options), end="")
        print("; next, when all parts are there: the same flags with --join instead of --shard")
        return
    options["shards"] = values.shards
    if values.cluster:
        built = build_on_cluster(
            parts=values.parts,
            address="" if values.cluster == "local" else values.cluster,
            workers=values.workers,
            report=functools.partial(print, flush=True),
            **options,
        )
    else:
        built = building.build_records(join=values.join, **options)
    print(cli.as_flags(str(built), values), end="")
    print(f"; next: cpmn-train --data_dir={values.output_dir} --model_dir=MODEL_DIR")


main = functools.partial(cli.execute, "cpmn-build-records", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())

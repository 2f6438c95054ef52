"""Says everything that is wrong with a source, or with records, in one listing, worst first.

  cpmn-validate-records --features_dir=features --annotations=annotations.json --unit_frames=16
  cpmn-validate-records --source=bsn --features_dir=csv_mean_100 \\
      --annotations=anet_anno_action.json --video_info=video_info_new.csv
  cpmn-validate-records --data_dir=/data/mine

A source's flags are those of cpmn-build-records; --data_dir takes the folder that it wrote. Missing
and surplus files, streams of different lengths, NaN and infinity, constant or zero features, units
that do not fit the duration, unknown labels, segments that are reversed or outside the video,
duplicate ids, classes without a training video and the same video in two splits are found. The exit
code is 1 if training would go wrong.
"""

import functools
import json
import sys
from typing import Any

from absl import flags

from cpmn_tf.commands import cli
from cpmn_tf.data.manifest import check_classes, check_split
from cpmn_tf.errors import UserError
from tfrecords_tools.findings import ERROR, WARNING, Findings
from tfrecords_tools.source_flags import define_source_flags, source_settings
from tfrecords_tools.sources import open_source


def define_flags(values: cli.Flags) -> None:
    """Defines this command's flags."""
    define_source_flags(values)
    flags.DEFINE_string(
        "data_dir", None, "Folder of records, instead of a source.", flag_values=values
    )
    flags.DEFINE_string(
        "train_split",
        None,
        "Split that is trained on (default: training, train or validation, whichever is there).",
        flag_values=values,
    )
    flags.DEFINE_bool("json", False, "Print every finding as JSON.", flag_values=values)


def run(values: cli.Flags) -> None:
    """Validates and prints.

    Raises:
      UserError: if training would go wrong, after the listing was printed.
    """
    if values.data_dir is not None:
        for name in ("source", "features_dir", "annotations"):
            if values[name].present:
                raise UserError(f"--{name} does not go with --data_dir; give one of them")
    cli.load_tensorflow()
    findings = Findings()
    if values.data_dir is not None:
        from tfrecords_tools.checks_of_shards import check_shards

        content = check_shards(values.data_dir, findings, values.train_split)
    else:
        content = check_source(values, findings)
    content |= {"errors": findings.count(ERROR), "warnings": findings.count(WARNING)}
    if values.json:
        content["findings"] = findings.to_json()
        print(cli.as_flags(json.dumps(content, indent=1, ensure_ascii=False), values))
    else:
        print(cli.as_flags(_text(content, findings), values))
    if content["errors"]:
        raise UserError(f"training would go wrong: {content['errors']} errors are listed above")


def check_source(values: cli.Flags, findings: Findings) -> dict[str, Any]:
    """Reads a source once and checks it; returns what it holds, as plain values."""
    from tfrecords_tools.checks import Checker, training_split

    checker = Checker(findings=findings)
    source = training = None
    with findings.catching("source"):
        source = open_source(values.source, source_settings(values), findings.add)
    if source is not None:
        videos = source.annotations.videos
        splits = {key: video.subset for key, video in videos.items()}
        with findings.catching("annotation"):
            check_classes(source.annotations.classes)
        for name in sorted(set(splits.values())):
            with findings.catching("annotation"):
                check_split(name)
        with findings.catching("source"):
            for video in source.videos(splits):
                known = videos[video.id]
                checker.video(known, known.subset, video.rate, video.features)
        training = values.train_split or training_split(dict.fromkeys(splits.values(), 0))
        checker.finish(videos, source.annotations.classes, training)
    return checker.summary(training)


def _text(content: dict[str, Any], findings: Findings) -> str:
    splits = ", ".join(f"{name} {count}" for name, count in content["splits"].items())
    streams = ", ".join(f"{name} {width}" for name, width in content["streams"].items())
    lines = [
        f"read: {content['videos']} videos ({splits or 'none'}), {content['units']} units; "
        f"streams: {streams or 'none'}; training split: {content['training_split'] or 'none'}"
    ]
    listing = findings.to_text()
    if listing:
        lines.append(listing)
    lines.append(f"{content['errors']} errors, {content['warnings']} warnings")
    return "\n".join(lines)


main = functools.partial(cli.execute, "cpmn-validate-records", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())

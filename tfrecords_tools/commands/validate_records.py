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

from cpmn_tf.commands import cli
from cpmn_tf.errors import UserError
from tfrecords_tools.source_flags import define_source_flags, source_settings


def define_flags(values: cli.Flags) -> None:
    """Defines this command's flags."""
    define_source_flags(values)
    values.string("data_dir", "Folder of records, instead of a source.")
    values.string("train_split", "Split to train on (default: training, train or validation).")
    values.boolean("json", "Print every finding as JSON.")


def run(values: cli.Flags) -> None:
    """Validates and prints.

    Raises:
      UserError: if training would go wrong, after the listing was printed.
    """
    cli.load_tensorflow()
    from tfrecords_tools.validation import validate_records

    found = validate_records(
        data_dir=values.data_dir,
        source=values.source if values["source"].present else None,
        train_split=values.train_split,
        allow_empty_classes=values.allow_empty_classes,
        **source_settings(values),
    )
    text = json.dumps(found.to_json(), indent=1, ensure_ascii=False) if values.json else str(found)
    print(cli.as_flags(text, values))
    if found.errors:
        raise UserError(f"training would go wrong: {found.errors} errors are listed above")


main = functools.partial(cli.execute, "cpmn-validate-records", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())

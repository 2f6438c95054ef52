"""Features in folders with no more than labels: a CSV of ``video,label|label`` lines.

Segments are never needed to train; this is ``folders`` with the one file that is.
"""

from absl import flags

from tfrecords_tools.findings import STRICT, Findings
from tfrecords_tools.reading.databases import checked_ids, read_labels
from tfrecords_tools.sources.folders import FoldersSource, options


def open_source(values: flags.FlagValues, findings: Findings = STRICT) -> FoldersSource:
    """Opens the source as the flags say.

    Raises:
      UserError: if a flag is missing or a file is broken; names the file and the line.
    """
    given = options(values, "labels")
    path = given["annotations"]
    raw = read_labels(path, findings)
    raw["database"] = checked_ids(path, raw["database"], findings)
    return FoldersSource(**given, raw=raw, name="labels", findings=findings)

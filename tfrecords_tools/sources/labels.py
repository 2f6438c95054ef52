"""Features in folders with no more than labels: a CSV of ``video,label|label`` lines.

Segments are never needed to train; this is ``folders`` with the one file that is.
"""

from cpmn_tf.errors import Problem
from cpmn_tf.formats.annotation_tables import read_annotation_table
from tfrecords_tools.sources import SourceSettings
from tfrecords_tools.sources.folders import OPTIONAL, REQUIRED, FoldersSource

__all__ = ["OPTIONAL", "REQUIRED", "open_source"]


def open_source(settings: SourceSettings, problem: Problem) -> FoldersSource:
    """Opens the source, whatever the suffix of the file of labels."""
    raw = read_annotation_table(str(settings.annotations), problem)
    return FoldersSource(settings, problem, raw=raw, name="labels")

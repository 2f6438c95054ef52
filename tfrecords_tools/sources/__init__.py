"""Where features and annotations come from: one module per layout that is read.

A module here offers ``open_source(values, findings) -> Source``, ``values`` being the flags of
:mod:`tfrecords_tools.source_flags` and ``findings`` where defects go, and stands in
:data:`SOURCES`. Nothing else needs to know of it.
"""

import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from absl import flags

from cpmn_tf.formats.annotations import Annotations
from tfrecords_tools.findings import STRICT, Findings

SOURCES = {
    "bsn": "tfrecords_tools.sources.bsn",
    "folders": "tfrecords_tools.sources.folders",
    "labels": "tfrecords_tools.sources.labels",
    "simulated": "tfrecords_tools.sources.simulated",
    "thumos14": "tfrecords_tools.sources.thumos14",
    "watch": "tfrecords_tools.sources.watch",
    "wtalc": "tfrecords_tools.sources.wtalc",
    "youtube8m": "tfrecords_tools.sources.youtube8m",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceVideo:
    """One video's features: [T, G] float32 or float16 per stream, ``rate`` in units per second.

    T may differ by a unit or two between streams; the build trims and counts.
    """

    id: str
    rate: float
    features: Mapping[str, np.ndarray]


class Source(Protocol):
    """Something that has annotations, and features for each annotated video.

    Attributes:
      annotations: of all videos; their subsets become the splits.
      facts: plain values that the manifest keeps about the records' origin.
      notes: lines worth telling the user, complete once :meth:`videos` has run through.
    """

    annotations: Annotations
    facts: Mapping[str, Any]
    notes: list[str]

    def videos(self, splits: Mapping[str, str]) -> Iterator[SourceVideo]:
        """Yields the videos one by one, in the annotations' order; may be called again.

        Args:
          splits: the split of each video, held-out ones set apart. Whatever is fitted to data is
            fitted to the videos of ``training`` here.

        Raises:
          UserError: naming the file, the video and the mend.
        """


def open_source(name: str, values: flags.FlagValues, findings: Findings = STRICT) -> Source:
    """The source of that name, opened as the flags say; defects go to ``findings``."""
    return importlib.import_module(SOURCES[name]).open_source(values, findings)

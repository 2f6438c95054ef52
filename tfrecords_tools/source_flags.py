"""The flags that say which source is read and how; building and validating share them."""

import dataclasses
from typing import Any

from cpmn_tf.commands.cli import Flags
from tfrecords_tools.sources import SOURCES, SourceSettings


def define_source_flags(values: Flags) -> None:
    """Defines the flags on ``values``, one for each field of the settings."""
    values.choice("source", SOURCES, "What is read; see above.", default="folders")
    values.string(
        "features_dir",
        "The features' folder, or an .npz or .h5 of all videos (wtalc: *-JOINTFeatures.npy).",
    )
    values.string(
        "annotations",
        "folders: ActivityNet-style JSON, or a CSV of segments; labels: a CSV; thumos14: folders "
        "of text files, separated by commas; wtalc: the folder *-Annotations; bsn: "
        "anet_anno_action.json; youtube8m: vocabulary.csv, if classes are to have names; "
        "simulated: ActivityNet-style JSON whose timelines are taken, drawn ones without.",
    )
    values.string(
        "video_info",
        "A CSV with a column video and any of subset, fps, duration (seconds), for what the "
        "annotations leave out; bsn: video_info_new.csv.",
    )
    values.integer("unit_frames", "Frames per unit.")
    values.number("fps", "Frames per second of the videos whose annotations do not say.")
    values.number(
        "resampled_fps",
        "Frames per second that all videos were brought to before encoding (I3D: often 25).",
    )
    values.integer("split_at", "Columns of rgb in files that hold both streams; flow's follow.")
    values.choice(
        "csv_header",
        ["yes", "no"],
        "Whether the first line of CSV features names the columns; by default text does, and so do "
        "numbers in a row before others.",
    )
    values.boolean("squeeze", "Drop axes of length 1 of arrays such as [1, T, G] or [T, G, 1, 1].")
    values.choice("crops", ["mean"], "Average [T, crops, G] or [crops, T, G] over the crops.")
    values.boolean("skip_missing", "Leave out annotated videos without features, and count them.")
    values.separated(
        "drop_labels", "Labels whose annotations are dropped, such as Background,None; counted."
    )
    values.boolean(
        "allow_empty_classes", "Allow classes without a labelled video in the training split."
    )
    values.integer("seed", "watch, simulated: seed of what is drawn.", default=0, least=0)
    values.choice(
        "recipe",
        ["long", "short"],
        "watch: long instances among other exercises, or short ones of all seven.",
        default="long",
    )
    values.choice(
        "difficulty",
        ["easier", "standard", "harder", "sceneless"],
        "simulated: how far actions stand out from the noise; sceneless: no scene tells the class.",
        default="standard",
    )
    values.string(
        "classes_per_video",
        "simulated: classes of each video whose timeline is drawn, as 1 or 3-5; THUMOS14's, one or "
        "two, by default.",
    )


def source_settings(values: Flags) -> dict[str, Any]:
    """What the flags say to a source: the fields of :class:`SourceSettings`."""
    return {field.name: values[field.name].value for field in dataclasses.fields(SourceSettings)}

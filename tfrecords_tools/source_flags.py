"""The flags that say which source is read and how; building and validating share them."""

import dataclasses
from typing import Any

from absl import flags

from tfrecords_tools.sources import SOURCES, SourceSettings


def define_source_flags(values: flags.FlagValues, default: str | None = "folders") -> None:
    """Defines the flags on ``values``; ``default`` is the source read if --source is not given."""
    flags.DEFINE_enum("source", default, SOURCES, "What is read; see above.", flag_values=values)
    for name, text in (
        ("features_dir", "The features' folder (wtalc: the file *-JOINTFeatures.npy)."),
        (
            "annotations",
            "folders: ActivityNet-style JSON; labels: a CSV; thumos14: folders of text files, "
            "separated by commas; wtalc: the folder *-Annotations; bsn: anet_anno_action.json; "
            "youtube8m: vocabulary.csv, if classes are to have names; simulated: ActivityNet-style "
            "JSON whose timelines are taken, drawn ones without.",
        ),
        (
            "video_info",
            "A CSV with a column video and any of subset, fps, duration (seconds), for what the "
            "annotations leave out; bsn: video_info_new.csv.",
        ),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    flags.DEFINE_integer("unit_frames", None, "Frames per unit.", lower_bound=1, flag_values=values)
    for name, text in (
        ("fps", "Frames per second of the videos whose annotations do not say."),
        (
            "resampled_fps",
            "Frames per second that all videos were brought to before features were computed (I3D: "
            "often 25), whatever the annotations say of the videos themselves.",
        ),
    ):
        flags.DEFINE_float(name, None, text, lower_bound=1e-3, flag_values=values)
    flags.DEFINE_integer(
        "split_at",
        None,
        "Files hold both streams: the first so many columns are rgb, the others flow.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "skip_missing",
        False,
        "Leave out annotated videos without features, and count them.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "watch: seed of the composition; simulated: of the simulation.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "difficulty",
        "standard",
        ["easier", "standard", "harder"],
        "simulated: how far actions stand out of the noise.",
        flag_values=values,
    )


def source_settings(values: flags.FlagValues) -> SourceSettings:
    """What the flags say to a source."""
    given: dict[str, Any] = {
        field.name: values[field.name].value for field in dataclasses.fields(SourceSettings)
    }
    return SourceSettings(**given)

"""Detections for players and labelling tools, and what people labelled there as annotations.

Examples:

  cpmn-convert --input=detections.json --format=vtt --output=subtitles --min_score=0.3
  cpmn-convert --input=detections.json --format=label_studio --fps=25 --output=tasks.json
  cpmn-convert --to=annotations --input=export.json --format=label_studio --fps=25 \\
      --output=annotations.json

Formats:
  vtt, srt             subtitles: a file per video in the folder --output, or one file of one video
  csv                  video,label,start,end,score in seconds, all videos in one file
  label_studio         predictions on videos, in frames: needs --fps or --video_info
  label_studio_series  the same on time series of sensors, in seconds
  via                  a project of VIA 3, the VGG Image Annotator for videos

--to=annotations reads csv, label_studio (of videos and of sensors) and via.
"""

import functools
import pathlib
import sys

from absl import flags

from cpmn_tf.commands import cli
from cpmn_tf.errors import UserError
from cpmn_tf.evaluation.results import many
from cpmn_tf.files import write_json, write_text
from cpmn_tf.formats.annotation_tables import read_annotation_table
from cpmn_tf.formats.annotations import (
    check_id,
    parse_annotations,
    parse_number,
    save_annotations,
)
from cpmn_tf.formats.detection_files import load_detection_file, save_detection_table
from cpmn_tf.formats.detections import Detections
from cpmn_tf.formats.label_studio import Rate, read_label_studio, sensor_tasks, video_tasks
from cpmn_tf.formats.labelling import read_video_info
from cpmn_tf.formats.names import nfc
from cpmn_tf.formats.subtitles import SUBTITLES, save_subtitles
from cpmn_tf.formats.via import read_via, via_project

FORMATS = ["vtt", "srt", "csv", "label_studio", "label_studio_series", "via"]
READ = ["csv", "label_studio", "via"]


def define_flags(values: cli.Flags) -> None:
    """Flags of `cpmn-convert`."""
    values.string(
        "input",
        "Detections: .json (ActivityNet's results), .csv or .txt (THUMOS). With --to=annotations, "
        "what the tool wrote: a CSV, Label Studio's export as JSON, or a saved VIA 3 project.",
    )
    values.choice("format", FORMATS, "The tool's format.")
    values.string(
        "output",
        "File to write; a folder for subtitles, unless it is called .vtt or .srt. With "
        "--to=annotations, the JSON that cpmn-build-records and cpmn-evaluate take.",
    )
    values.choice("to", ["annotations"], "The way back: labels of --format as annotations.")
    values.number("min_score", "Leave out detections below this score.")
    values.integer("top_k", "Keep at most so many of each video, the best ones.", least=1)
    values.number("fps", "Frames per second of videos of which --video_info says none.")
    values.string(
        "video_info",
        "A CSV with a column video and any of fps, duration, subset, as cpmn-encode's videos.csv.",
    )
    values.string(
        "media",
        "Where the tool finds a video: a path or a URL with {} for the id; {}.mp4 by default, and "
        "{}.csv for label_studio_series.",
    )
    values.string(
        "subset", "Subset of annotated videos, unless the file says another.", default="training"
    )


def run(values: cli.Flags) -> None:
    """Converts, one way or the other."""
    cli.require(values, "input", "format", "output")
    if values.media and "{}" not in values.media:
        raise flags.ValidationError("--media must hold {}, the place of the id")
    infos = read_video_info(values.video_info) if values.video_info else {}
    fps = values.fps and parse_number(values.fps, "--fps", positive=True)

    def rate(video: str) -> float:
        known = infos.get(nfc(video), {}).get("fps") or fps
        if not known:
            missing = "Label Studio counts frames, and this video's fps are not known"
            raise UserError(f"video {video!r}: {missing}; give --fps or --video_info")
        return known

    if values.to:
        back(values, infos, rate)
    else:
        forth(values, rate)


def forth(values: cli.Flags, rate: Rate) -> None:
    """Writes detections in the tool's format."""
    detections = load_detection_file(values.input)
    detections = detections.best(least=values.min_score, count=values.top_k)
    name, version = values.format, pathlib.Path(values.input).stem
    media = values.media or ("{}.csv" if name == "label_studio_series" else "{}.mp4")
    if f".{name}" in SUBTITLES:
        subtitles(values.output, f".{name}", detections)
    elif name == "csv":
        save_detection_table(values.output, detections)
    elif name == "label_studio":
        tasks = video_tasks(detections, rate=rate, media=media, version=version)
        write_json(values.output, tasks)
    elif name == "label_studio_series":
        write_json(values.output, sensor_tasks(detections, media=media, version=version))
    else:
        write_json(values.output, via_project(detections, media=media))
    videos = many(len(detections.videos), "video")
    print(f"{many(len(detections), 'detection')} in {videos}: {values.output}")


def subtitles(output: str, suffix: str, detections: Detections) -> None:
    """Writes one video's file, or a file per video, called as players look for it."""
    given = pathlib.Path(output).suffix.lower()
    if given in SUBTITLES:
        if given != suffix:
            raise flags.ValidationError(f"--output={output} is not of --format={suffix[1:]}")
        save_subtitles(output, detections)
        return
    for video in detections.videos:
        check_id(video)
    for video, found in detections.by_video():
        write_text(pathlib.Path(output, video + suffix), SUBTITLES[suffix](found))


def back(values: cli.Flags, infos: dict, rate: Rate) -> None:
    """Writes what was labelled in the tool as annotations."""
    if values.format not in READ:
        raise flags.ValidationError(f"--to=annotations reads --format={', '.join(READ)}")
    if values.min_score is not None or values.top_k is not None:
        raise flags.ValidationError("--min_score and --top_k are of detections")
    if values.format == "csv":
        database = read_annotation_table(values.input)["database"]
    else:
        via = values.format == "via"
        labelled = read_via(values.input) if via else read_label_studio(values.input, rate)
        database = {key: {"annotations": items} for key, items in labelled.segments.items()}
        for what, number in labelled.left_out.items():
            if number:
                print(f"left out, {what}: {number}")
    database = {key: {**infos.get(nfc(key), {}), **entry} for key, entry in database.items()}
    raw = {"database": database, "default_subset": values.subset}
    annotations = parse_annotations(raw, values.input)
    for note in annotations.notes:
        print(note)
    save_annotations(values.output, annotations)
    instances = sum(len(video.instances) for video in annotations.videos.values())
    shown = f"{many(instances, 'instance')} of {many(len(annotations.classes), 'class')}"
    print(f"{shown} in {many(len(annotations.videos), 'video')}: {values.output}")


main = functools.partial(cli.execute, "cpmn-convert", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())

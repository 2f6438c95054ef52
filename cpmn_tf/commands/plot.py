"""Draws recordings: truth, detections, T-CASs, attention map and Φ on one axis of seconds.

One picture per recording, with a block of panels per predicted class; classes of the truth that
were not predicted are drawn as missed.

Example:

  cpmn-plot --data_dir=runs/records --model_dir=runs/model --output_dir=runs/pictures

A picture is named after its recording; characters that a file's name should not hold are written
as %XX, as in URLs.
"""

import difflib
import functools
import hashlib
import os
import pathlib
import sys
import urllib.parse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cpmn_tf.commands import cli
from cpmn_tf.config import parse_settings
from cpmn_tf.errors import UserError

if TYPE_CHECKING:
    from cpmn_tf.data.pipeline import Split

_MOST = 120  # characters of a file's name; file systems end at 255 bytes


def define_flags(values: cli.Flags) -> None:
    """Flags of `cpmn-plot`."""
    values.string("data_dir", "Data set of cpmn-build-records.")
    values.string("split", "Split to draw from; the preset's test split if empty.")
    values.string("model_dir", "Folder of cpmn-train.")
    values.string("output_dir", "Folder for the pictures; made if needed.")
    values.repeated(
        "ids",
        "A recording to draw, instead of the first --count; may be repeated (one id each, for ids "
        "may hold commas).",
    )
    values.integer(
        "count", "Draw the first so many recordings of the split; 0 draws all.", default=4, least=0
    )
    values.repeated(
        "set",
        "Change a setting that acts after training, such as localization.top_k=1; may be repeated.",
    )
    values.choice("format", ["png", "svg", "pdf"], "File format.", default="png")


def file_name(video_id: str, extension: str) -> str:
    """A file's name for a recording of any id: plain ASCII, another one for every id.

    Letters, digits, ``_`` and, but for the first place, ``-`` and ``.`` stay; all else becomes
    %XX of its UTF-8 bytes. A long name is cut, and ``~`` and a digest of the id follow.
    """
    name = urllib.parse.quote(video_id, safe="").replace("~", "%7E")
    if name[0] in "-.":
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if len(name) > _MOST:
        digest = hashlib.sha256(video_id.encode()).hexdigest()[:16]
        name = f"{name[: _MOST - 17]}~{digest}"
    return f"{name}.{extension}"


def chosen(split: "Split", ids: Sequence[str], count: int) -> "Split":
    """The part of a split that is drawn, in its order: ``ids``, or the first ``count`` (0: all).

    Raises:
      UserError: naming an id that is not there, and some that are.
    """
    names = split.ids
    for video_id in ids:
        if video_id not in names:
            near = difflib.get_close_matches(video_id, names, 3) or names[:3]
            folder = split.manifest.folder
            raise UserError(
                f"--ids={video_id}: the split {split.name!r} of {folder} holds no such recording; "
                f"of its {len(names)} try {', '.join(map(repr, near))}; "
                f"{os.path.join(folder, 'annotations.json')} lists them all"
            )
    return split.only(ids) if ids else split.first(count or len(split))


def run(values: cli.Flags) -> None:
    """Draws, one file per recording."""
    cli.require(values, "data_dir", "model_dir", "output_dir")
    cli.load_tensorflow()

    from cpmn_tf import inference, plotting
    from cpmn_tf.data.pipeline import Split
    from cpmn_tf.files import replaced
    from cpmn_tf.training.model_folder import load_model

    model = load_model(values.model_dir, parse_settings(values.set))
    split = Split.open(values.data_dir, values.split or model.config.data.test_split)
    model.manifest.check_data(split.manifest)
    split = chosen(split, values.ids, values.count)
    for batch in inference.batches(split, segments=True, streams=list(model.streams)):
        curves = plotting.collect_curves(
            model, batch, model.manifest.classes, simulated=split.manifest.simulated
        )
        path = pathlib.Path(values.output_dir) / file_name(curves.id, values.format)
        picture = plotting.render(plotting.figure(curves), values.format)
        with replaced(path) as temporary:
            temporary.write_bytes(picture)
        print(path, flush=True)


main = functools.partial(cli.execute, "cpmn-plot", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())

"""Localizes actions in every video of a split, or in a video file; writes ActivityNet's JSON.

Examples:

  cpmn-localize --data_dir=runs/records --model_dir=runs/model --output=runs/detections.json
  cpmn-localize --video=clip.mp4 --model_dir=runs/model --output=clip.json
  cpmn-localize --data_dir=runs/records --split=testing --server=127.0.0.1:8500 \\
    --output=runs/detections.json

  cpmn-localize --data_dir=runs/records --model_dir=runs/model --output=runs/detections.json \\
    --shard=3/64     (and so on, in any process or machine; then --join in the place of --shard)

The rows of the paper's Table 3 come from one training:

  --set localization.attention=false --set localization.mining=false   original T-CAS only
  --set localization.attention=false                                   with mining
"""

import functools
import os
import sys
from typing import TYPE_CHECKING, Any

from absl import flags

from cpmn_tf.commands import cli, evaluation_inputs, localize_video
from cpmn_tf.config import TIOU, parse_settings
from cpmn_tf.encoding import require_video
from cpmn_tf.errors import UserError
from cpmn_tf.evaluation import PROTOCOLS, parse_tiou
from cpmn_tf.evaluation.results import Sources, many
from cpmn_tf.files import file_sha256, read_text
from cpmn_tf.shards import remove_parts

if TYPE_CHECKING:
    from cpmn_tf.serving.client import Client

# Flags by what the reader of class scores calls them.
SCORES = {
    "scale": "class_scores_scale",
    "rows": "class_scores_rows",
    "columns": "class_scores_classes",
}
# Flags by what the client of a server calls them.
SERVER = {"model": "server_model", "timeout": "server_timeout", "token": "server_token_file"}
# Flags that do not go with it, and what to do.
NOT_SERVED = {
    "video": "it takes features; encode videos with cpmn-encode and build records",
    "set": "an export's settings are fixed; export anew with --set instead",
    "streams": "an export takes all of its streams",
    "evaluate": "give --output to cpmn-evaluate",
    "shard": "a server may change its model between two parts; give --model_dir or --saved_model",
    "join": "a server makes no parts; give --model_dir or --saved_model",
}
# Flags that say something of records only.
OF_RECORDS = ("split", "class_scores", *SCORES.values(), "evaluate", "batch_size", "shard", "join")


def define_flags(values: cli.Flags) -> None:
    """Flags of `cpmn-localize`."""
    values.string("data_dir", "Data set of cpmn-build-records.")
    values.string(
        "split", "Split to localize in; the preset's test split if empty, needed with --server."
    )
    values.string("model_dir", "Folder of cpmn-train.")
    values.string("saved_model", "Instead of --model_dir: a version folder of cpmn-export.")
    values.string(
        "server",
        "Instead of --model_dir: the address of cpmn-serve or TensorFlow Serving, host:port or "
        "grpc://host:port for gRPC (extra [serving]), http://host:port for REST; grpcs:// and "
        "https:// by TLS.",
    )
    values.string("server_model", "With --server: what it calls the model.", default="cpmn")
    values.string("server_token_file", "With --server: a file of the token that it asks for.")
    values.number("server_timeout", "With --server: seconds for a request, 60 by default.")
    values.string("output", "Result JSON to write.")
    values.string(
        "class_scores",
        "External class probabilities of the videos, by which classes are selected and scored "
        "instead of the model's own: .npy [videos, classes], .csv (a header video,CLASS,CLASS,... "
        "and a line per video) or .json ({VIDEO: {CLASS: score}}, or CUHK's for ActivityNet).",
    )
    values.number(
        "class_scores_scale",
        "What external scores are multiplied by; needed where they exceed 1 (0.5 for a sum of two "
        "streams' softmaxes).",
    )
    values.string(
        "class_scores_rows",
        "Of an .npy: a text file with a video id per row, or a pattern for the row's number "
        "counted from 1, such as video_test_{:07d}.",
    )
    values.string(
        "class_scores_classes",
        "A text file with the name of each column, or its number counted from 1 and the name, "
        "as THUMOS14's detclasslist.txt; needed where the file holds other classes than the data.",
    )
    values.choice(
        "evaluate",
        [*PROTOCOLS, "both"],
        "Print the mAP by this protocol too, against the data set's own annotations; of parts, "
        "when they are joined.",
    )
    values.repeated(
        "set",
        "With --model_dir, change a setting that acts after training, such as "
        "localization.nms_threshold=0.5; may be repeated.",
    )
    values.separated(
        "streams", "With --model_dir: streams to use, separated by commas; all by default."
    )
    values.integer(
        "batch_size",
        "Videos at a time, at most, of like length; more is faster on GPUs.",
        default=1,
        least=1,
    )
    values.string(
        "shard",
        "K/N, such as 3/64: localizes in part K of N, every N-th video of the split, into "
        "OUTPUT-parts; part by part in any process or machine, with the same flags.",
    )
    values.boolean("join", "Join the parts in OUTPUT-parts to --output, then remove them.")
    values.boolean("overwrite", "With --shard: replace a part of another model, data or settings.")
    localize_video.define_flags(values)


def run(values: cli.Flags) -> None:
    """Localizes and writes the detections."""
    cli.require(values, "output")
    if values.shard is not None and values.join:
        raise flags.ValidationError("--shard makes a part, --join joins all; give one of them")
    if values.overwrite and values.shard is None:
        raise flags.ValidationError("--overwrite goes with --shard only")
    if bool(values.data_dir) == bool(values.video):
        raise flags.ValidationError("give either --data_dir or --video")
    for name in OF_RECORDS if values.video else localize_video.OF_VIDEOS:
        if values[name].present:
            needed = "data_dir" if values.video else "video"
            raise flags.ValidationError(f"--{name} goes with --{needed} only")
    if sum(map(bool, (values.model_dir, values.saved_model, values.server))) != 1:
        raise flags.ValidationError("give either --model_dir, --saved_model or --server")
    for name in NOT_SERVED if values.server else ():
        if values[name].value:
            raise flags.ValidationError(f"--{name} does not go with --server: {NOT_SERVED[name]}")
    for name in () if values.server else SERVER.values():
        if values[name].present:
            raise flags.ValidationError(f"--{name} goes with --server only")
    if values.server:
        cli.require(values, "split")
    if values.saved_model and values.set:
        raise UserError("--set: an export's settings are fixed; export anew with --set instead")
    if values.saved_model and values.streams:
        raise UserError("--streams: an export takes all of its streams; use --model_dir instead")
    if values.video:
        require_video()
    cli.load_tensorflow()

    from cpmn_tf.data.pipeline import Split
    from cpmn_tf.formats.annotations import load_annotations
    from cpmn_tf.formats.class_scores import load_class_scores
    from cpmn_tf.formats.detections import save_detections
    from cpmn_tf.inference import localize
    from cpmn_tf.parts import join_parts, localize_part
    from cpmn_tf.serving.saved_model import load_exported
    from cpmn_tf.training.model_folder import load_model

    if values.server:
        with cli.renamed(SERVER):
            client = _client(values)
        split = Split.open(values.data_dir, values.split)
        classes = split.manifest.classes
        localized = functools.partial(client.localize, split)
    else:
        if values.saved_model:
            model = load_exported(values.saved_model)
        else:
            model = load_model(values.model_dir, parse_settings(values.set), values.streams)
        if values.video:
            localize_video.run(values, model)
            return
        config = model.manifest.config
        split = Split.open(values.data_dir, values.split or config.data.test_split)
        classes = model.manifest.classes
        localized = functools.partial(localize, model, split)
    annotations = os.path.join(values.data_dir, "annotations.json")
    scores = None
    if values.class_scores:
        ids = split.ids
        with cli.renamed(SCORES):
            table = load_class_scores(
                values.class_scores,
                video_ids=ids,
                classes=classes,
                known_ids=load_annotations(annotations).videos,
                **{argument: values[flag].value for argument, flag in SCORES.items()},
            )
        scores = dict(zip(ids, table, strict=True))
    faults: list[str] = []
    given: dict[str, Any] = {
        "class_scores": scores,
        "problem": lambda kind, message, video="": faults.append(message),
    }
    running = {**given, "batch_size": values.batch_size, "report": print}
    if values.shard is not None:
        where = {"output": values.output, "shard": values.shard, "overwrite": values.overwrite}
        part = localize_part(model, split, **where, **running)
        print(f"{part}; next, when all parts are there: the same flags with --join")
        _check(faults, str(part.path))
        return
    if values.join:
        detections = join_parts(model, split, output=values.output, **given)
    else:
        with cli.renamed(SERVER if values.server else {}):
            detections = localized(**running)
    details = f"cpmn_tf, {values.server or values.saved_model or values.model_dir}"
    if split.manifest.simulated:
        details += "; features are SIMULATED"
        print(f"{values.data_dir}: features are SIMULATED")
    save_detections(values.output, detections, details)
    if values.join:
        remove_parts(values.output)
    print(f"{len(detections)} detections in {len(detections.videos)} videos: {values.output}")
    _check(faults, values.output)
    if values.evaluate:
        truth, _, notes = evaluation_inputs.load_split(annotations, split.name)
        sources = Sources(annotations, file_sha256(annotations), values.output, None, split.name)
        tiou = parse_tiou(TIOU[config.preset])
        inputs = evaluation_inputs.Inputs(truth, detections, tiou, sources, notes)
        results = evaluation_inputs.judge(inputs, values.evaluate)
        print(f"\n{evaluation_inputs.report(inputs, results)}")


def _check(faults: list[str], written: str) -> None:
    """Ends the command where videos could not be localized: it is not the split's result.

    Raises:
      UserError: if there is a fault; names the file with what was found.
    """
    if not faults:
        return
    for fault in faults[1:]:
        print(fault)
    raise UserError(
        f"{faults[0]} ({many(len(faults), 'video')} not localized; the others' detections are in "
        f"{written})"
    )


def _client(values: cli.Flags) -> "Client":
    """The client that the flags describe."""
    from cpmn_tf.serving import Client

    token = read_text(values.server_token_file).strip() if values.server_token_file else None
    given = {} if values.server_timeout is None else {"timeout": values.server_timeout}
    return Client(values.server, model=values.server_model, token=token, **given)


main = functools.partial(cli.execute, "cpmn-localize", __doc__, define_flags, run)

if __name__ == "__main__":
    sys.exit(main())

"""The signature ``score`` as ONNX, for runtimes other than TensorFlow.

Inputs and outputs are those of :mod:`~cpmn_tf.serving.saved_model`, of free batch size and time
length; the metadata ``model.json`` says what a SavedModel's asset does. Needs the extra ``[onnx]``.
"""

import json
import logging
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from cpmn_tf.data.manifest import check_stream_names
from cpmn_tf.errors import UserError
from cpmn_tf.files import replaced
from cpmn_tf.models import CPMN
from cpmn_tf.serving import videos
from cpmn_tf.serving.saved_model import description, score, score_specs
from cpmn_tf.training.model_folder import FILE

NAME = "score.onnx"
OPSET = 18  # the highest that tf2onnx knows
TOLERANCE = 1e-4
# Units of the videos of each batch that both are compared on.
BATCHES = ((1,), (100,), (300, 70, 5), (1000, 1000))


def export_onnx(model: CPMN, export_dir: str | os.PathLike) -> pathlib.Path:
    """Writes ``score.onnx``, once it gives what TensorFlow gives.

    Args:
      model: of :func:`~cpmn_tf.load_model`.
      export_dir: its folder; a file that is there is replaced.

    Raises:
      UserError: if the extra ``[onnx]`` is not installed, ONNX has no such graph, or its outputs
        differ from TensorFlow's by more than 1e-4.
    """
    try:
        import onnxruntime
        import tf2onnx
    except ModuleNotFoundError as error:
        raise UserError(
            f"`format=onnx`: {error.name} is missing; pip install '.[onnx]' in a clone"
        ) from error
    check_stream_names(model.streams)
    specs = score_specs(model)

    @tf.function(input_signature=[*specs.values()], autograph=False)
    def function(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return score(model, dict(zip(specs, inputs, strict=True)))

    path = pathlib.Path(export_dir, NAME)
    # It logs what it cannot convert, with tracebacks, and returns a graph that no runtime loads.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    with replaced(path) as temporary:
        try:
            proto, _ = tf2onnx.convert.from_function(
                function,
                input_signature=[*specs.values()],
                opset=OPSET,
                custom_op_handlers={"UpperBound": (_upper_bound, [])},
            )
            entry = proto.metadata_props.add()
            entry.key, entry.value = FILE, json.dumps(description(model), ensure_ascii=False)
            temporary.write_bytes(proto.SerializeToString())
            session = onnxruntime.InferenceSession(
                str(temporary), providers=["CPUExecutionProvider"]
            )
            for lengths in BATCHES:
                _compare(model, function, session, lengths)
        except UserError:
            raise
        except Exception as error:  # neither has a class of its own for all that it raises
            line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            text = f"{path}: ONNX has no graph of these settings ({line}); export a SavedModel"
            raise UserError(text) from error
    return path


def _compare(model: CPMN, function: Any, session: Any, lengths: tuple[int, ...]) -> None:
    inputs = videos.arrays(videos.drawn(model.streams, lengths), model.streams)
    del inputs["durations"]
    wanted = function(*map(tf.constant, inputs.values()))
    for output, found in zip(session.get_outputs(), session.run(None, inputs), strict=True):
        ours = wanted[output.name].numpy()
        if ours.shape != found.shape or not np.allclose(ours, found, TOLERANCE, TOLERANCE):
            raise UserError(
                f"ONNX gives another {output.name} than TensorFlow of videos of {lengths} units; "
                "nothing was written, report it"
            )


def _upper_bound(ctx: Any, node: Any, name: str, args: Any) -> None:
    """``tf.searchsorted(side="right")``, which tf2onnx lacks.

    Of each row of a table [rows, entries], ascending, how many entries are at most a query
    [rows, queries]: those that precede it when both are sorted together. Of equal values TopK puts
    the first, the table's, first.
    """
    from onnx import TensorProto
    from tf2onnx import utils

    def constant(value: Any) -> str:
        return ctx.make_const(utils.make_name("upper_bound"), np.array(value, np.int64)).output[0]

    def op(kind: str, *inputs: str, **attributes: int) -> str:
        return ctx.make_node(kind, list(inputs), attr=attributes).output[0]

    (table, queries), (output,) = node.input, node.output
    shape = ctx.get_shape(output)
    ctx.remove_node(node.name)
    one = constant([1])
    both = op("Concat", table, queries, axis=1)
    entries, size = (op("Gather", op("Shape", values), one, axis=0) for values in (table, both))
    sort = ctx.make_node("TopK", [both, size], attr={"axis": 1, "largest": 0}, output_count=2)
    order = sort.output[1]
    of_table = op("Cast", op("Less", order, entries), to=TensorProto.INT32)
    before = op("CumSum", of_table, constant(1))
    before = op("ScatterElements", before, order, before, axis=1)  # in the order of `both`
    kinds, shapes = [TensorProto.INT32], [shape]
    ctx.make_node(
        "Slice", [before, entries, size, one], outputs=[output], dtypes=kinds, shapes=shapes
    )

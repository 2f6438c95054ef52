"""The step's graph: nothing of the forward pass is still to be computed when weights change."""

import pytest
import tensorflow as tf

from cpmn_tf.config import Config, with_overrides
from cpmn_tf.models import CascadedClassifier
from cpmn_tf.training.objectives import cascade_loss
from cpmn_tf.training.step import initialize, is_emulated, make_optimizer, make_step


def ancestors(operation: tf.Operation) -> set[str]:
    """Names of all operations that must have ended before this one begins.

    An IdentityN, as Keras' optimizer passes all gradients through, joins nothing: TensorFlow takes
    it apart where nothing else holds it together (``post_optimization_graph`` of a run shows it).
    """
    found, todo = set(), [operation]
    while todo:
        current = todo.pop()
        before = list(current.control_inputs)
        for tensor in current.inputs:
            while tensor.op.type == "IdentityN":
                before += tensor.op.control_inputs
                tensor = tensor.op.inputs[tensor.value_index]
            before.append(tensor.op)
        new = [item for item in before if item.name not in found]
        found.update(item.name for item in new)
        todo += new
    return found


def readers(output: tf.Tensor) -> set[str]:
    """Names of what computes with a tensor's memory, also under another shape."""
    found = set()
    for operation in output.consumers():
        if operation.type in ("ExpandDims", "Identity", "Reshape", "Squeeze"):
            found.update(*map(readers, operation.outputs))
        else:
            found.add(operation.name)
    return found


def test_updates_wait_for_every_reader_of_the_weights():
    """Neither the loss nor the gradients alone are enough to wait for.

    Stage A's T-CAS passes no gradient, so that no update would wait for it by itself. Updated while
    it was still being read, the weights gave another mask, once in some thousand steps on a loaded
    machine: training was not the same bits twice. A layer's weights are also read for the gradient
    of its input, which the loss does not have in it; and for the L2 penalty's value, which is in no
    gradient.
    """
    config = with_overrides(Config(), ["cascade.filters=4", "training.batch_size=2"])
    model = CascadedClassifier(num_classes=3, config=config.cascade)
    model.build((None, None, 5))
    initialize(model, 0)
    optimizer = make_optimizer(config, 1, model.trainable_variables)
    batch = {
        "features": tf.TensorSpec([2, 8, 5], tf.float32),
        "valid": tf.TensorSpec([2, 8], tf.bool),
        "labels": tf.TensorSpec([2, 3], tf.float32),
    }
    step = make_step(model, optimizer, cascade_loss, config, seed=0)
    graph = step.get_concrete_function(batch, tf.TensorSpec([], tf.int64)).graph
    operations = graph.get_operations()
    ends = [tensor.op for tensor in graph.outputs]
    ends += [op for op in operations if op.type.startswith("Assign")]
    alive = set().union(*map(ancestors, ends))  # the gradient of the features is never computed
    handles = {id(outer): inner for outer, inner in graph.captures}
    for variable in model.trainable_variables:
        handle = handles[id(variable.value.handle)]
        users = [op for op in operations if any(i is handle for i in op.inputs)]
        (update,) = (op for op in users if op.type.startswith("Assign"))
        needed = ancestors(update)
        for read in (op for op in users if op.type == "ReadVariableOp"):
            late = (readers(read.outputs[0]) & alive) - needed
            assert not late, f"{variable.path} may change before {late} is computed"


@pytest.mark.parametrize(
    ("precision", "flags", "expected"),
    [
        ("mixed_bfloat16", "avx2 fma", True),
        ("mixed_bfloat16", "avx2 avx512_bf16", False),
        ("mixed_float16", "avx2 avx512_bf16 f16c", True),
        ("mixed_float16", "amx_fp16", False),
        ("float32", "avx2", False),
    ],
)
def test_a_precision_without_an_instruction_is_told(
    tmp_path, monkeypatch, precision, flags, expected
):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    (tmp_path / "cpuinfo").write_text(f"model name\t: one\nflags\t\t: sse {flags}\n")
    assert is_emulated(precision, tmp_path / "cpuinfo") is expected
    assert not is_emulated(precision, tmp_path / "none")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["one"])
    assert not is_emulated(precision, tmp_path / "cpuinfo")

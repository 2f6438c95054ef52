"""Whether all of it runs on this machine's GPU, how fast, and whether it finds what the CPU finds.

Prints the devices; the training steps of both modules in float32 with and without TF32, in mixed
precision and with XLA, against a matrix product of float32 (see `training`); and by how much a
model's detections on the device differ from the CPU's, on drawn videos. Without a GPU the same
runs on the CPU, in the precisions that it has instructions for, and says so.

    make gpu-check
"""

import numpy as np
import tensorflow as tf

from cpmn_tf import inference
from cpmn_tf.config import preset
from cpmn_tf.localization.detect import Detected
from cpmn_tf.models import CPMN
from cpmn_tf.serving import videos
from cpmn_tf.training.step import initialize, is_emulated
from experiments.benchmarks.training import (
    CLASSES,
    MODULES,
    PRODUCT,
    PRODUCTS,
    WIDTH,
    Variant,
    measure_steps,
)
from experiments.harness.report import markdown

LENGTHS = (900, 300, 64, 1)  # units of the videos that are localized in
VARIANTS = {
    "float32": Variant(tf32=False),
    "TF32": Variant(),
    "float16": Variant("mixed_float16"),
    "bfloat16": Variant("mixed_bfloat16"),
    "float32, XLA": Variant(xla=True, tf32=False),
    "TF32, XLA": Variant(xla=True),
    "float16, XLA": Variant("mixed_float16", xla=True),
    "bfloat16, XLA": Variant("mixed_bfloat16", xla=True),
}


def variants(on_gpu: bool) -> dict[str, Variant]:
    """Those that make sense here: TF32 is the GPUs', and other precisions may be emulated."""
    return {
        name: variant
        for name, variant in VARIANTS.items()
        if on_gpu or ("TF32" not in name and not is_emulated(variant.precision))
    }


def speed(on_gpu: bool) -> list[list[str]]:
    """Rows of step, rate against float32's step, and against the matrix product."""
    rows = [["step", "against float32", "against the matrix product", "GFLOP/s"]]
    for module in MODULES:
        taken = measure_steps(module, variants(on_gpu))
        rates = {name: float(np.median(each[:, 0])) for name, each in taken.items()}
        product = rates.pop(PRODUCT)
        for name, rate in rates.items():
            against = f"{rate / rates['float32']:.2f}", f"{rate / product:.2f}"
            rows.append([f"{module}, {name}", *against, f"{rate / 1e9:.0f}"])
        shape = "×".join(map(str, PRODUCTS[module]))
        rows.append([f"matrix product {shape}", "", "1", f"{product / 1e9:.0f}"])
    return rows


def detections(device: str, tf32: bool) -> Detected:
    """What a model of `thumos14`'s size with drawn weights finds in drawn videos, in float32."""
    streams = {"rgb": WIDTH, "flow": WIDTH}
    clips = videos.drawn(streams, LENGTHS)
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    with tf.device(device):
        model = CPMN(streams=streams, num_classes=CLASSES, config=preset("thumos14"))
        initialize(model, 0)
        given = videos.arrays(clips, streams)
        features = {name: tf.constant(given[name]) for name in streams}
        times = (tf.constant(given[name]) for name in ("lengths", "rates", "durations"))
        found = inference.compiled(model)(features, *times)
    tf.config.experimental.enable_tensor_float_32_execution(True)
    return Detected(*(np.asarray(values) for values in found))


def differences(ours: Detected, theirs: Detected) -> str:
    """How far apart two devices' detections are, matched in their order."""
    if ours.counts.tolist() != theirs.counts.tolist():
        return f"{ours.counts.sum()} detections against {theirs.counts.sum()}"
    moved = np.abs(ours.segments - theirs.segments).max(initial=0)
    scores = np.abs(ours.scores - theirs.scores).max(initial=0)
    other = int((ours.labels != theirs.labels).sum())
    return (
        f"{ours.counts.sum()} detections; largest difference {moved:.2g} s, {scores:.2g} of a "
        f"score; {other} of another class at the same rank"
    )


def main() -> None:
    """Prints the check."""
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
        print("device:", tf.config.experimental.get_device_details(gpu).get("device_name", gpu))
    if not gpus:
        print("device: no GPU was found; what follows is the CPU's")
    device = "GPU:0" if gpus else "CPU:0"
    print(markdown(speed(bool(gpus))))
    wanted = detections("CPU:0", tf32=False)
    for name, tf32 in {"float32": False, "TF32": True}.items():
        if gpus or not tf32:
            print(f"{device} in {name} against the CPU:", end=" ")
            print(differences(detections(device, tf32), wanted))


if __name__ == "__main__":
    main()

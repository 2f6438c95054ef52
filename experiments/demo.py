"""`make demo`: the main job on real recordings, from weak labels to evaluated detections.

Runs the commands a user would run, each in its own process, shows them, and skips what an earlier
demo finished.
"""

import json
import pathlib
import shlex
import subprocess
import sys
import time

from absl import app, flags

from cpmn_tf.files import read_json, write_json
from experiments.harness.table3_rows import TABLE3

FLAGS = flags.FLAGS
flags.DEFINE_string("output_dir", "runs/demo", "Folder for everything the demo makes.")


class Step:
    """Runs one command after another; an error ends the demo.

    A command is skipped if an earlier demo finished the very same one and its output is there.
    """

    def __init__(self, out: pathlib.Path):
        self._journal = out / "finished.json"
        self._done: dict[str, list[str]] = {}
        if self._journal.is_file():
            self._done = read_json(self._journal)

    def __call__(self, what: str, output: pathlib.Path, module: str, *arguments: str) -> None:
        print(f"\n{what} -> {output}", flush=True)
        if self._done.get(str(output)) == [module, *arguments] and output.exists():
            print("    finished before, reused", flush=True)
            return
        name = f"cpmn-{module.rpartition('.')[2].replace('_', '-')}"
        print(f"    $ {shlex.join([name, *arguments])}", flush=True)
        start = time.monotonic()
        status = subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
        if status:
            raise SystemExit(status if status > 0 else 128 - status)
        print(f"    {time.monotonic() - start:.0f} s", flush=True)
        self._done[str(output)] = [module, *arguments]
        write_json(self._journal, self._done)


def row_file(number: int) -> str:
    """The detections of a row of Table 3; the last row is the full method's."""
    return "detections.json" if number == len(TABLE3) else f"table3/row{number}.json"


def metrics_file(number: int) -> str:
    """The evaluation of a row of Table 3."""
    return "metrics.json" if number == len(TABLE3) else f"table3/row{number}_metrics.json"


def main(_) -> None:
    """Runs the demo."""
    start = time.monotonic()
    out = pathlib.Path(FLAGS.output_dir)
    records, model = out / "records", out / "model"
    step = Step(out)
    step(
        "Build records: untrimmed recordings, composed from real smartwatch recordings",
        records,
        "tfrecords_tools.commands.build_records",
        "--source=watch",
        f"--output_dir={records}",
    )
    step(
        "Train on people 1-6, told only which exercises each recording holds",
        model,
        "cpmn_tf.commands.train",
        "--preset=watch",
        f"--data_dir={records}",
        f"--model_dir={model}",
    )
    for number, (name, settings) in enumerate(TABLE3.items(), 1):
        step(
            f"Localize in the recordings of people 7-10: {name}",
            out / row_file(number),
            "cpmn_tf.commands.localize",
            f"--data_dir={records}",
            f"--model_dir={model}",
            f"--output={out / row_file(number)}",
            *(f"--set={setting}" for setting in settings),
        )
        step(
            f"Evaluate: {name}",
            out / metrics_file(number),
            "cpmn_tf.commands.evaluate",
            "--preset=watch",
            "--protocol=activitynet",
            f"--annotations={records / 'annotations.json'}",
            f"--detections={out / row_file(number)}",
            f"--output={out / metrics_file(number)}",
        )
    step(
        "Export a SavedModel with the post-processing inside",
        out / "export",
        "cpmn_tf.commands.export",
        f"--model_dir={model}",
        f"--export_dir={out / 'export'}",
    )
    step(
        "Plot what the model saw in four recordings",
        out / "plots",
        "cpmn_tf.commands.plot",
        f"--data_dir={records}",
        f"--model_dir={model}",
        f"--output_dir={out / 'plots'}",
    )
    summarize(out, time.monotonic() - start)


def summarize(out: pathlib.Path, seconds: float) -> None:
    """Prints the rows of Table 3 and where everything is."""
    results = [json.loads((out / metrics_file(n)).read_text()) for n in range(1, len(TABLE3) + 1)]
    tiou = results[0]["tiou"]
    print(
        "\nmAP (%) on the test people, recordings composed from real recordings; protocol "
        "activitynet\n"
    )
    print(f"{'tIoU':20s}" + "".join(f"{value:7.1f}" for value in tiou) + "   average")
    for name, result in zip(TABLE3, results, strict=True):
        cells = "".join(f"{100 * value:7.1f}" for value in result["map"])
        print(f"{name:20s}{cells}{100 * result['average_map']:10.1f}")
    pictures = sorted((out / "plots").glob("*.png"))
    version = max((out / "export").iterdir(), key=lambda path: int(path.name))
    print(f"\npicture:     {pictures[0]} (of {len(pictures)})")
    print(f"TensorBoard: tensorboard --logdir={out / 'model' / 'tensorboard'}")
    print(f"SavedModel:  {version}")
    print(f"\n{seconds:.0f} s")


if __name__ == "__main__":
    app.run(main)

"""`make demo`: the main job on real recordings, from weak labels to evaluated detections.

Runs the commands a user would run, each in its own process, shows them, and skips what an earlier
demo finished.
"""

import pathlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator

from cpmn_tf.commands import cli
from cpmn_tf.files import read_json, write_json
from cpmn_tf.serving.versions import find_versions
from experiments.paper import table3

ROWS = table3.PARTS
EXAMPLE = "person07_left_000"  # of the test people, for the page of `make serve`
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def define_flags(values: cli.Flags) -> None:
    """The demo's only flag."""
    values.string("output_dir", "Folder for everything the demo makes.", default="runs/demo")


def row_files(number: int) -> tuple[str, str]:
    """The detections of a row of Table 3 and their evaluation; the last row is the full method."""
    if number == len(ROWS):
        return "detections.json", "metrics.json"
    return f"table3/row{number}.json", f"table3/row{number}_metrics.json"


def steps() -> Iterator[tuple[str, str, str]]:
    """What each step does, what it makes, and its command; OUT is the demo's folder."""
    inputs = "--data_dir=OUT/records --model_dir=OUT/model"
    what = "Build records: untrimmed recordings, composed from real smartwatch recordings"
    yield what, "records", "cpmn-build-records --source=watch --output_dir=OUT/records"
    what = "Train on people 1-6, told only which exercises each recording holds"
    yield what, "model", f"cpmn-train --preset=watch {inputs}"
    for number, row in enumerate(ROWS, 1):
        detections, metrics = row_files(number)
        command = f"cpmn-localize {inputs} --output=OUT/{detections}"
        command += "".join(f" --set={setting}" for setting in row.settings)
        yield f"Localize in the recordings of people 7-10: {row.name}", detections, command
        command = "cpmn-evaluate --preset=watch --protocol=activitynet"
        command += " --annotations=OUT/records/annotations.json"
        command += f" --detections=OUT/{detections} --output=OUT/{metrics}"
        yield f"Evaluate: {row.name}", metrics, command
    what = "Export a SavedModel with the post-processing inside"
    command = "cpmn-export --model_dir=OUT/model --export_dir=OUT/export"
    command += f" --example_data=OUT/records --example={EXAMPLE}"
    yield what, "export", command
    what = "Plot what the model saw in four recordings"
    yield what, "plots", f"cpmn-plot {inputs} --output_dir=OUT/plots"


def execute(command: list[str]) -> int:
    """Runs a command to its end; a signal that asks the demo to stop is passed on, once.

    Returns:
      Its exit code, as a shell's; 128 plus the signal's number if the demo was asked to stop.
    """
    asked: list[int] = []
    child = None

    def pass_on(number: int, _) -> None:
        asked.append(number)
        if child is not None:
            child.send_signal(number)

    # What is ignored stays so: `nohup` ignores SIGHUP.
    heard = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, pass_on) for number in heard}
    try:
        # In a group of its own: a terminal's Ctrl-C would otherwise reach it twice, and a second
        # one ends a training without saving.
        child = subprocess.Popen(command, process_group=0)
        if asked:  # before there was anyone to pass it on to
            child.send_signal(asked[0])
        code = child.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    code = -asked[0] if asked else code
    return code if code >= 0 else 128 - code


def run_steps(out: pathlib.Path, steps: Iterable[tuple[str, str, str]]) -> None:
    """Runs commands one after another, but for those that an earlier run finished just so.

    Args:
      out: folder of all that is made.
      steps: what each does, what it makes in ``out``, and its command, in which OUT is ``out``.
    """
    journal = out / "finished.json"
    finished = read_json(journal) if journal.is_file() else {}
    for what, output, command in steps:
        print(f"\n{what} -> {out / output}", flush=True)
        words = [word.replace("OUT", str(out)) for word in command.split()]
        if finished.get(output) == words and (out / output).exists():
            print("    finished before, reused", flush=True)
            continue
        print(f"    $ {shlex.join(words)}", flush=True)
        begin = time.monotonic()
        package = "tfrecords_tools" if words[0].endswith("-records") else "cpmn_tf"
        module = words[0].removeprefix("cpmn-").replace("-", "_")
        code = execute([sys.executable, "-m", f"{package}.commands.{module}", *words[1:]])
        if code:
            raise SystemExit(code)
        print(f"    {time.monotonic() - begin:.0f} s", flush=True)
        finished[output] = words
        write_json(journal, finished)


def run(values: cli.Flags) -> None:
    """Runs the steps."""
    start = time.monotonic()
    out = pathlib.Path(values.output_dir)
    run_steps(out, steps())
    summarize(out, time.monotonic() - start)


def summarize(out: pathlib.Path, seconds: float) -> None:
    """Prints the rows of Table 3 and where everything is."""
    results = [read_json(out / row_files(number)[1]) for number in range(1, len(ROWS) + 1)]
    print(
        "\nmAP (%) on the test people, recordings composed from real recordings; protocol "
        "activitynet\n"
    )
    print(f"{'tIoU':20s}" + "".join(f"{value:7.1f}" for value in results[0]["tiou"]) + "   average")
    for row, result in zip(ROWS, results, strict=True):
        cells = "".join(f"{100 * value:7.1f}" for value in result["map"])
        print(f"{row.name:20s}{cells}{100 * result['average_map']:10.1f}")
    pictures = sorted((out / "plots").glob("*.png"))
    versions = find_versions(out / "export")
    print(f"\npicture:     {pictures[0]} (of {len(pictures)})")
    print(f"TensorBoard: tensorboard --logdir={out / 'model' / 'tensorboard'}")
    print(f"SavedModel:  {versions[max(versions)]}")
    print(f"\n{seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(cli.execute("experiments.demo", __doc__, define_flags, run))

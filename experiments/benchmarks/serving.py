"""What a model server answers under load, beside the same SavedModel in process.

A model of the size of `thumos14` (512 filters, G=101, two streams, 20 classes; random weights), and
videos of 900 units in float32, one a request. Clients are a process of their own.

- *in process*: the SavedModel in the batches that the server made, on all cores;
- *32 clients* for SECONDS: throughput, p50 and p99, memory; and throughput per second of processor
  time that the clients left, over that in process;
- *four times that rate*, sent whatever is answered: refusals, p99 of what is answered, memory,
  and how soon a request is answered again afterwards;
- *a new version* while 32 clients send, and *one of two replicas killed*, with retries: requests
  lost.

    python -m experiments.benchmarks.serving [SECONDS]
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
import tensorflow as tf

from cpmn_tf.config import preset, with_settings
from cpmn_tf.models import CPMN
from cpmn_tf.serving.protobufs import predict_request
from cpmn_tf.serving.saved_model import export
from cpmn_tf.training.model_folder import ModelManifest

ROOT = pathlib.Path(__file__).parents[2]
UNITS, WIDTH, CLASSES, CLIENTS = 900, 101, 20, 32
PAGE = os.sysconf("SC_PAGE_SIZE") / 2**20  # MiB
TICKS = os.sysconf("SC_CLK_TCK")


def random_model(width: int = WIDTH, settings: Mapping[str, Any] | None = None) -> CPMN:
    """A model of the size of `thumos14`, by default, whose curves are not constant."""
    config = with_settings(preset("thumos14"), settings or {})
    streams = {"rgb": width, "flow": width}
    model = CPMN(streams=streams, num_classes=CLASSES, config=config)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if variable.shape.rank > 1:
            spread = np.sqrt(2 / np.prod(variable.shape[:-1]))
            variable.assign(rng.normal(scale=spread, size=variable.shape))
    classes = tuple(f"class {number}" for number in range(CLASSES))
    model.manifest = ModelManifest(config=config, streams=streams, classes=classes)
    return model


def inputs(videos: int, units: int = UNITS, width: int = WIDTH) -> dict[str, np.ndarray]:
    """Drawn videos, all of one length."""
    rng = np.random.default_rng(1)
    features = {
        name: rng.normal(size=(videos, units, width)).astype(np.float32) for name in ("rgb", "flow")
    }
    rates, durations = np.float32([6.0] * videos), np.float32([units / 6.0] * videos)
    lengths = np.int32([units] * videos)
    return {**features, "lengths": lengths, "rates": rates, "durations": durations}


def in_process(folder: pathlib.Path, videos: int, seconds: float = 15.0) -> float:
    """Videos per second of processor time, in batches of ``videos``."""
    loaded = tf.saved_model.load(str(folder))
    given = {name: tf.constant(value) for name, value in inputs(videos).items()}
    detect = loaded.signatures["detect"]
    detect(**given)
    begin, processor, batches = time.monotonic(), time.process_time(), 0
    while time.monotonic() < begin + seconds:
        detect(**given)["scores"].numpy()
        batches += 1
    cores = os.cpu_count() or 1
    by_clock = batches * videos / (time.monotonic() - begin) / cores
    print(
        f"in process, batches of {videos}: {by_clock:.2f} videos per second of a core, "
        f"{batches * videos / (time.process_time() - processor):.2f} per second of processor time"
    )
    return by_clock


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """`cpmn-serve` in processes of its own.

    Attributes:
      port, rest, metrics: its ports.
      process: the command.
      ready: its line on standard output.
    """

    def __init__(self, versions: pathlib.Path, *flags: str, log: IO | None = None):
        self.port, self.rest, self.metrics = free_port(), free_port(), free_port()
        command = [sys.executable, "-m", "cpmn_tf.commands.serve", f"--model_base_path={versions}"]
        command += [f"--port={self.port}", f"--rest_api_port={self.rest}"]
        command += [f"--metrics_port={self.metrics}", *flags]
        # The engine's processes import this copy of the package, wherever they start.
        own = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | own
        )
        assert self.process.stdout
        self.ready = self.process.stdout.readline()
        if not self.ready:
            raise RuntimeError("the server did not start")

    def stop(self) -> float:
        """Seconds that it took to end."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=120)
        return time.monotonic() - begin

    def processes(self) -> list[int]:
        """Its process and all that it started."""
        parents = {}
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with_parent = _stat(path)
            if with_parent:
                parents[int(path.parent.name)] = int(with_parent[1])
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def memory(self) -> float:
        """MiB of all its processes that they share with nobody."""
        total = 0.0
        for pid in self.processes():
            try:
                resident, shared = pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1:3]
            except OSError:
                continue
            total += (int(resident) - int(shared)) * PAGE
        return total

    def processor(self) -> dict[str, float]:
        """Seconds of processor time by kind of process."""
        spent: dict[str, float] = {}
        for pid in self.processes():
            path = pathlib.Path(f"/proc/{pid}/stat")
            if fields := _stat(path):
                name = path.read_text().split("(", 1)[1].split(")")[0]
                seconds = (int(fields[11]) + int(fields[12])) / TICKS
                spent[name] = spent.get(name, 0.0) + seconds
        return spent

    def replica(self) -> int:
        """The process of the replica."""
        for pid in self.processes():
            with contextlib.suppress(OSError):  # of one that has just ended
                if "ServeReplica" in pathlib.Path(f"/proc/{pid}/cmdline").read_text():
                    return pid
        raise RuntimeError("no replica")

    def batch(self) -> float:
        """Videos of a batch, on average since the start."""
        text = self.get(self.metrics, "/metrics")
        values = {
            kind: sum(
                float(value)
                for value in re.findall(rf"^ray_cpmn_batch_videos_{kind}{{.*}} (\S+)$", text, re.M)
            )
            for kind in ("sum", "count")
        }
        return values["sum"] / values["count"]

    def get(self, port: int, path: str) -> str:
        """The body of an answer."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.read().decode()


def _stat(path: pathlib.Path) -> list[str]:
    """Fields of /proc/PID/stat from the state on; none if the process has ended."""
    try:
        return path.read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


class Load:
    """`serving_load` beside the server, and the server's memory meanwhile."""

    def __init__(self, server: Server, request: pathlib.Path, seconds: float, *kind: object):
        arguments = [server.port, request, seconds, *kind]
        command = [sys.executable, "-m", "experiments.benchmarks.serving_load"]
        self._child = subprocess.Popen(
            [*command, *map(str, arguments)], stdout=subprocess.PIPE, text=True
        )
        self._server, self.memory = server, [server.memory()]
        self._watch = threading.Thread(target=self._sample)
        self._watch.start()

    def _sample(self) -> None:
        while self._child.poll() is None:
            self.memory.append(self._server.memory())
            time.sleep(1.0)

    def result(self) -> dict:
        """What the clients saw."""
        output, _ = self._child.communicate()
        self._watch.join()
        return json.loads(output)


def percentiles(result: dict) -> tuple[float, float]:
    """p50 and p99 of answered requests, in seconds."""
    took = [seconds for code, _, seconds in result["ends"] if code == "OK"]
    return tuple(np.percentile(took, [50, 99])) if took else (np.nan, np.nan)


def shown(name: str, result: dict, memory: list[float]) -> None:
    """One line."""
    p50, p99 = percentiles(result)
    codes = ", ".join(f"{count} {code}" for code, count in sorted(result["codes"].items()))
    quarter = max(1, len(memory) // 4)
    first, last = np.mean(memory[1 : 1 + quarter]), np.mean(memory[-quarter:])
    print(
        f"{name}: {codes} in {result['seconds']:.0f} s; p50 {p50:.2f} s, p99 {p99:.2f} s; server's "
        f"memory {first:.0f} MiB in the first quarter, {last:.0f} in the last; clients' processor "
        f"time {result['processor']:.1f} s",
        flush=True,
    )


def write_request(path: pathlib.Path) -> None:
    """One video as a serialized PredictRequest."""
    path.write_bytes(predict_request(inputs(1)).SerializeToString())


def differences(before: dict[str, float], after: dict[str, float]) -> Iterator[str]:
    """Processor time by process, most first."""
    spent = {name: after[name] - before.get(name, 0.0) for name in after}
    for name in sorted(spent, key=lambda name: -spent[name])[:5]:
        yield f"{name} {spent[name]:.1f} s"


def main() -> None:
    """Prints a line per load."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as scratch:
        folder, request = pathlib.Path(scratch), pathlib.Path(scratch) / "request"
        version = export(random_model(), folder / "versions")
        write_request(request)
        server = Server(folder / "versions")
        try:
            Load(server, request, 5, "clients", CLIENTS).result()  # graph and caches are warm then
            before = server.processor()
            load = Load(server, request, seconds, "clients", CLIENTS)
            result = load.result()
            shown(f"{CLIENTS} clients", result, load.memory)
            print("  processor time:", ", ".join(differences(before, server.processor())))
            answered = result["codes"].get("OK", 0)
            throughput = answered / result["seconds"]
            left = cores * result["seconds"] - result["processor"]
            batch = server.batch()
            print(f"  {throughput:.2f} requests per second; {batch:.1f} videos a batch")
            rate = 4 * throughput
            load = Load(server, request, seconds, "rate", rate)
            flood = load.result()
            begin = time.monotonic()
            Load(server, request, 0.1, "clients", 1).result()
            shown(f"{rate:.1f} requests per second", flood, load.memory)
            print(f"  p99 over that of {CLIENTS} clients: ", end="")
            print(f"{percentiles(flood)[1] / percentiles(result)[1]:.2f}")
            print(f"  one request afterwards: {time.monotonic() - begin:.1f} s")
            load = Load(server, request, seconds / 2, "clients", CLIENTS, 8)
            shutil.copytree(version, folder / "next")
            os.rename(folder / "next", folder / "versions" / "2")
            swapped = load.result()
            shown("a new version meanwhile", swapped, load.memory)
            print("  ", server.get(server.rest, "/v1/models/cpmn"))
        finally:
            print(f"stopped within {server.stop():.1f} s")
        server = Server(folder / "versions", "--replicas=2")
        try:
            load = Load(server, request, seconds / 2, "clients", CLIENTS, 8)
            time.sleep(seconds / 8)
            os.kill(server.replica(), signal.SIGKILL)
            shown("one of two replicas killed, with retries", load.result(), load.memory)
        finally:
            server.stop()
        alone = in_process(version, max(1, round(batch)))
        print(f"per second of processor time that the clients left: {answered / left:.2f} videos, ")
        print(f"  {answered / left / alone:.2f} of in process")


if __name__ == "__main__":
    main()

"""Every reader of files under mutated files, MINUTES for each.

A reader gets a small sound folder in which one file or two are changed: by bytes, by fields and
values, by headers that lie, or to another file altogether. Whatever they hold, it must return what
is finite and checked, or raise a :class:`UserError` of one line; commands must end with 1 or 2 and
one line. Another exception, a process that dies, half a minute without an end and a GiB of memory
are faults.

    python -m experiments.benchmarks.fuzz_files [MINUTES [SEED [READER …]]]   # 1 minute, seed 0
    python -m experiments.benchmarks.fuzz_files again SEED READER NUMBER      # one try, in the open
    python -m experiments.benchmarks.fuzz_files guided MINUTES READER         # by coverage, atheris

Try N of a reader is drawn from the seed and N alone. What failed is kept in `runs/fuzz_files`.
Exits with 1 if anything did. Readers work in a process each, which is started anew when it dies.
"""

import collections
import contextlib
import dataclasses
import itertools
import math
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from logging import getLogger
from typing import Any

import numpy as np
from absl import logging

from cpmn_tf.errors import UserError
from cpmn_tf.notices import load_tensorflow
from experiments.benchmarks.file_readers import READERS, Reader, put
from experiments.benchmarks.mutations import Rng, mutated_file

PATIENCE = 30.0  # seconds for one try
START = 120.0  # seconds until a reader's process has made its folder
MEMORY = 1 << 30  # bytes that one try may take
KEPT = 3  # tries of each fault that are kept
KEEP = pathlib.Path("runs/fuzz_files")

Files = dict[str, bytes]

# -- one try


def draw(rng: Rng, reader: Reader, whole: Files) -> dict[str, Any]:
    """The changed files of one try: bytes, None for one that is gone, or "folder"."""
    names = [file for file in sorted(whole) if not re.fullmatch(reader.fixed, file)]
    changed: dict[str, Any] = {}
    for _ in range(rng.choice((1, 1, 1, 1, 2))):
        file = rng.choice(names)
        kind = rng.randrange(60)
        if kind == 0:
            changed[file] = rng.choice((None, "folder", b"", b"\n", b"\x00" * 100))
        elif kind == 1:
            changed[file] = whole[rng.choice(sorted(whole))]
        else:
            changed[file] = mutated_file(rng, file, whole[file])
    for file, data in list(changed.items()):
        # A shard is looked at only if it is as long as the manifest says.
        manifest = f"{pathlib.PurePath(file).parent}/manifest.json"
        if file.endswith(".tfrecord") and isinstance(data, bytes) and manifest in whole:
            text = changed.get(manifest, whole[manifest])
            size = str(len(whole[file])).encode()
            if isinstance(text, bytes) and rng.random() < 0.9:
                changed[manifest] = text.replace(b": " + size, b": %d" % len(data))
    return changed


def written(path: pathlib.Path, data: Any) -> None:
    """Puts a file, or nothing, or a folder in the place of one."""
    if path.is_dir():
        path.rmdir()
    if isinstance(data, bytes):
        path.write_bytes(data)
    elif data == "folder":
        path.unlink(missing_ok=True)
        path.mkdir()
    else:
        path.unlink(missing_ok=True)


def sound(value: Any) -> None:
    """Goes through all that a reader returned.

    Raises:
      AssertionError: at a number that is not finite, and at text that no file can hold.
    """
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if dataclasses.is_dataclass(item):
            waiting += vars(item).values()
        elif isinstance(item, Mapping):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            waiting += item
        elif isinstance(item, np.ndarray) and item.dtype.kind == "f":
            assert np.isfinite(item).all(), "an array holds NaN or infinite values"
        elif isinstance(item, float):
            assert math.isfinite(item), f"a number is {item}"
        elif isinstance(item, str):
            assert item == item.encode(errors="replace").decode(), f"no file can hold {item!a:.60}"


def judged(read: Callable, folder: pathlib.Path, changed: list[str]) -> tuple[str, str, str]:
    """What came of one try: ``accepted``, ``refused`` or ``fault``; the message, and where."""
    try:
        for found in read(folder, changed):
            sound(found)
        return "accepted", "", ""
    except UserError as error:
        text = str(error)
        if len(text.splitlines()) != 1:
            return "fault", f"not one line: {text!r:.300}", ""
        return "refused", text, "" if str(folder) in text else "unnamed"
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if re.search("/(cpmn_tf|tfrecords_tools)/", frame[0])]
        place = f"{pathlib.Path(ours[-1][0]).name}:{ours[-1][1]}" if ours else ""
        where = f"{type(error).__name__} {place}"
        return "fault", f"{where}: {' '.join(str(error).split()):.300}", traceback.format_exc()


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def prepared(reader: Reader, root: pathlib.Path) -> Files:
    """Makes the sound folder and reads it once; its files."""
    folder = root / "in"
    folder.mkdir()
    os.chdir(root)  # whatever a file says of others is looked for here
    reader.make(folder)
    whole = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    outcome = judged(reader.read, folder, sorted(whole))
    assert outcome[0] == "accepted", outcome
    return whole


def work(
    name: str, seed: int, first: int, left: float, pipe: multiprocessing.connection.Connection
) -> None:
    """Tries from the first number on for so many seconds; tells of each before and after."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    warnings.simplefilter("ignore")
    logging.set_verbosity(logging.FATAL)
    getLogger("tensorflow").setLevel("ERROR")
    load_tensorflow(compute=False)
    reader = READERS[name]
    with (
        tempfile.TemporaryDirectory() as scratch,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        root = pathlib.Path(scratch)
        whole = prepared(reader, root)
        used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MEMORY, used + 2 * MEMORY))
        pipe.send(("ready", 0, "", "", {}))
        end = time.monotonic() + left
        for number in itertools.count(first):
            if time.monotonic() > end:
                break
            changed = draw(random.Random(f"{seed} {name} {number}"), reader, whole)
            for file, data in changed.items():
                written(root / "in" / file, data)
            pipe.send(("begun", number, "", "", {}))
            before = peak()
            outcome, text, where = judged(reader.read, root / "in", sorted(changed))
            if peak() - before > MEMORY:
                outcome, text = "fault", f"memory: {(peak() - before) >> 20} MiB; {text}"
            pipe.send((outcome, number, text, where, changed if outcome == "fault" else {}))
            for file in changed:
                written(root / "in" / file, whole[file])


# -- all of them


@dataclasses.dataclass
class Tally:
    """What came of a reader's tries."""

    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    faults: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    unnamed: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    slowest: float = 0.0

    def add(self, outcome: str, text: str, where: str, seconds: float) -> None:
        """Counts a try."""
        self.counts[outcome] += 1
        self.slowest = max(self.slowest, seconds)
        if where == "unnamed":
            self.unnamed[re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "…", text)[:100]] += 1


def fault_of(text: str) -> str:
    """A fault's kind: its text without what differs from try to try."""
    found = re.match(r"\w+ \w+\.py:\d+|not one line|memory", text)
    return found[0] if found else re.sub(r"\d+", "N", text)[:60]


def run(name: str, seconds: float, seed: int, keep: pathlib.Path) -> Tally:
    """Tries a reader for some time, in processes that are started anew when they end."""
    context = multiprocessing.get_context("spawn")
    tally, first, left = Tally(), 0, seconds
    while left > 0:
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(name, seed, first, left, theirs))
        process.start()
        theirs.close()
        begun, since, ready = first - 1, 0.0, 0.0
        fault = f"hang: over {PATIENCE:g} s"
        try:
            while ours.poll(PATIENCE if ready else START):
                outcome, number, text, where, changed = ours.recv()
                if outcome == "ready":
                    ready = time.monotonic()
                elif outcome == "begun":
                    begun, since = number, time.monotonic()
                else:
                    first = number + 1
                    tally.add(outcome, text, where, time.monotonic() - since)
                    if outcome == "fault":
                        kept(tally, name, seed, number, text, where, changed, keep)
        except EOFError:
            process.join()
            fault = f"crash: exit code {process.exitcode}"
        process.kill()
        process.join()
        if not ready or (begun < first and process.exitcode):
            raise RuntimeError(f"{name}: no folder of try {first} ({fault})")
        left -= time.monotonic() - ready
        if begun >= first:
            first = begun + 1
            tally.add("fault", fault, "", time.monotonic() - since)
            kept(tally, name, seed, begun, fault, "", {}, keep)
        elif process.exitcode == 0:  # its time was over
            break
    return tally


def kept(
    tally: Tally,
    name: str,
    seed: int,
    number: int,
    text: str,
    where: str,
    changed: Mapping[str, Any],
    keep: pathlib.Path,
) -> None:
    """Counts a fault, and keeps the first of its kind."""
    numbers = tally.faults.setdefault(fault_of(text), [])
    numbers.append(number)
    if len(numbers) > KEPT:
        return
    print(f"  {name}, seed {seed}, try {number}: {text}", flush=True)
    folder = keep / f"{name} {seed} {number}"
    shutil.rmtree(folder, ignore_errors=True)
    put(folder / "fault.txt", f"{text}\n{where}")
    for file, data in changed.items():
        if isinstance(data, bytes):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)


def again(seed: int, name: str, number: int) -> None:
    """One try in this process; prints what came of it."""
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        whole = prepared(READERS[name], root)
        changed = draw(random.Random(f"{seed} {name} {number}"), READERS[name], whole)
        for file, data in changed.items():
            written(root / "in" / file, data)
            print(f"{file}: {data!r:.2000}")
        print(*judged(READERS[name].read, root / "in", sorted(changed)), sep="\n")


class Fed(Rng):
    """Draws from given bytes, then from a seed."""

    def __init__(self, data: bytes):
        super().__init__(0)
        self._data, self._at = data, 0

    def getrandbits(self, k: int) -> int:
        """The next bits: the bytes that they need, or none of them."""
        size = -(-k // 8)
        if self._at + size > len(self._data):
            return super().getrandbits(k)
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at], "big") >> 8 * size - k

    def random(self) -> float:
        """A number of two bytes."""
        return self.getrandbits(16) / 2**16


def guided(name: str, seconds: int) -> None:
    """Tries what brings the packages' code to new places; prints faults, and libFuzzer's lines."""
    import atheris  # pip install atheris

    faults = set()
    with tempfile.TemporaryDirectory() as scratch:
        root, reader = pathlib.Path(scratch), READERS[name]
        with atheris.instrument_imports(["cpmn_tf", "tfrecords_tools"]):
            whole = prepared(reader, root)

        def attempt(data: bytes) -> None:
            changed = draw(Fed(data), reader, whole)
            for file, content in changed.items():
                written(root / "in" / file, content)
            outcome, text, _ = judged(reader.read, root / "in", sorted(changed))
            if outcome == "fault" and fault_of(text) not in faults:
                faults.add(fault_of(text))
                print(text, changed, flush=True)
            for file in changed:
                written(root / "in" / file, whole[file])

        limits = [f"-max_total_time={seconds}", "-max_len=400", "-len_control=0"]
        atheris.Setup([sys.argv[0], *limits], attempt)
        atheris.Fuzz()  # does not return


def main() -> int:
    """Prints a line per reader; 1 if there are faults."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["again"]:
        again(int(arguments[1]), arguments[2], int(arguments[3]))
        return 0
    if arguments[:1] == ["guided"]:
        guided(arguments[2], round(60 * float(arguments[1])))
    minutes, seed = float((arguments or ["1"])[0]), int((arguments[1:] or ["0"])[0])
    print(f"{minutes:g} minutes for each reader, seed {seed}", flush=True)
    faults = 0
    for name in arguments[2:] or READERS:
        tally = run(name, 60 * minutes, seed, KEEP)
        counts = [tally.counts[kind] for kind in ("accepted", "refused", "fault")]
        faults += counts[2]
        cells = [name, f"{sum(counts):,}", *(f"{count:,}" for count in counts)]
        print(f"| {' | '.join(cells)} | {tally.slowest:.1f} s |", flush=True)
        for kind, numbers in tally.faults.items():
            print(f"  fault: {kind}: {len(numbers)} times, as at {numbers[:KEPT]}", flush=True)
        for text, count in tally.unnamed.most_common(5):
            print(f"  names no file: {count} times: {text}", flush=True)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())

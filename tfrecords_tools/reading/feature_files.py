"""One feature file: .npy, .npz or .csv, read to [T, G] floats; nothing is unpickled."""

import contextlib
import dataclasses
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from cpmn_tf.errors import Defect, UserError
from cpmn_tf.formats.arrays import all_finite, check_numbers, open_array
from tfrecords_tools.findings import listed

SUFFIXES = (".npy", ".npz", ".csv")
DIMENSIONS = ("units", "values")
# What the first line of a CSV file may be.
TEXT, MIXED, NUMBERS, UNIT = "text", "text and numbers", "numbers in a row", "other numbers"
_WHOLE = re.compile(r"\d{1,9}(\.0)?")


@dataclasses.dataclass(kw_only=True)
class Reading:
    """How files are read where there are two ways, and what was made of how many.

    Attributes:
      csv_header: whether the first line of CSV files names their columns, ``yes`` or ``no``; None
        takes text for names, and 0, 1, 2, ... before other numbers.
      counts: files by what their first line was taken for.
    """

    csv_header: str | None = None
    counts: Counter[str] = dataclasses.field(default_factory=Counter)

    def notes(self) -> list[str]:
        """What was made of how many files, in a line."""
        if not self.counts:
            return []
        found = "; ".join(f"{taken}: {count}" for taken, count in sorted(self.counts.items()))
        return [f"first lines of CSV files: {found}"]


def load_features(path: str | os.PathLike, reading: Reading | None = None) -> np.ndarray:
    """Reads [T, G] numbers as float32, or as float16 where the file holds those.

    Args:
      path: the file.
      reading: how it is read where it can be read in two ways.

    Raises:
      UserError: naming the file, if it is no such array or holds NaN or infinite values.
    """
    suffix = os.path.splitext(path)[1].lower()
    return finite(path, _READERS[suffix](path, reading or Reading()))


def load_archive(path: str | os.PathLike, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads an .npz that holds an array per stream.

    Args:
      path: the file.
      names: of the streams that it must hold, sorted.

    Raises:
      UserError: naming the file.
    """
    with _archive(path) as archive:
        found = sorted(archive.files)
        if found != list(names):
            raise UserError(
                f"{path}: holds {listed(found)} instead of {listed(names)}; give each video the "
                "same streams"
            )
        return {name: finite(f"{path}: {name}", _member(path, archive, name)) for name in names}


def split_columns(
    name: str | os.PathLike, values: np.ndarray, split_at: int
) -> dict[str, np.ndarray]:
    """``rgb`` and ``flow`` of joint [T, G] features.

    Raises:
      Defect: naming ``name``, if nothing is left for ``flow``.
    """
    width = values.shape[1]
    if width <= split_at:
        text = (
            f"{name}: holds {width} values per unit; `split_at={split_at}` leaves nothing to flow"
        )
        raise Defect("width", text)
    return {
        "rgb": np.ascontiguousarray(values[:, :split_at]),
        "flow": np.ascontiguousarray(values[:, split_at:]),
    }


def stream_names(path: str | os.PathLike) -> list[str]:
    """Names of the arrays in an .npz, sorted.

    Raises:
      UserError: naming the file.
    """
    with _archive(path) as archive:
        return sorted(archive.files)


def finite(name: str | os.PathLike, array: np.ndarray) -> np.ndarray:
    """``array`` as float32, or float16 if it is that already, in C's order; every value finite.

    Raises:
      Defect: that names the first value that is not.
    """
    kept = np.float16 if array.dtype.kind == "f" and array.dtype.itemsize == 2 else np.float32
    with np.errstate(over="ignore"):
        values = np.array(array, kept, order="C")
    if not all_finite(values):
        unit, value = np.argwhere(~np.isfinite(values))[0]
        raise Defect(
            "nan",
            f"{name}: holds {values[unit, value]} as {np.dtype(kept)} (unit {unit}, value "
            f"{value}); encode the video anew",
        )
    return values


def _load_npz(path: str | os.PathLike, reading: Reading) -> np.ndarray:
    with _archive(path) as archive:
        if len(archive.files) != 1:
            raise UserError(
                f"{path}: holds {len(archive.files)} arrays ({listed(archive.files)}); keep one, "
                "or one per stream in FEATURES/ID.npz"
            )
        return _member(path, archive, archive.files[0])


def _load_csv(path: str | os.PathLike, reading: Reading) -> np.ndarray:
    """A line of numbers per unit, between commas, semicolons, tabs or blanks."""
    with _readable(path, "is not a table of numbers"):
        with open(path, encoding="utf-8-sig") as file:
            lines = [line for line in file if line.strip()]
        separator = _separator(path, lines[:2])
        fields = lines[0].strip().split(separator) if lines else []
        kind = _first_line(path, fields)
        if reading.csv_header == "no" and kind in (TEXT, MIXED):
            raise Defect(
                "unreadable", f"{path}: its first line holds text; leave out `csv_header=no`"
            )
        if reading.csv_header is None and kind == MIXED:
            text = f"{path}: its first line holds text and numbers ({lines[0].strip():.40})"
            raise Defect("unreadable", f"{text}; mend it, or say `csv_header=yes`")
        named = reading.csv_header == "yes" or kind == TEXT
        with warnings.catch_warnings():  # of no data: an error below
            warnings.simplefilter("ignore", UserWarning)
            values = np.loadtxt(
                lines[named:], np.float32, delimiter=separator, ndmin=2, comments=None
            )
    if reading.csv_header is None and kind == NUMBERS:
        if values.shape[1] < 3 or (values[1:] == np.rint(values[1:])).all():
            text = f"{path}: its first line may be names of columns or a unit"
            raise Defect(
                "unreadable",
                f"{text} ({lines[0].strip():.40}); say `csv_header=yes` or `csv_header=no`",
            )
        values, named = values[1:], True
    if values.size == 0:
        raise Defect("unreadable", f"{path}: holds no number; encode the video anew")
    if named and separator and len(fields) != values.shape[1]:
        text = f"{path}: names {len(fields)} columns and has {values.shape[1]}"
        raise Defect("unreadable", f"{text}; write each column with its name")
    first, others = values[:, 0], values[:, 1:]
    counting = (
        len(values) > 2
        and first[0] in (0, 1)
        and np.array_equal(first, first[0] + np.arange(len(first)))
    )
    if counting and (others != np.rint(others)).any():
        text = f"{path}: its first column counts the lines"
        raise Defect("unreadable", f"{text}; write the table without it (pandas: index=False)")
    reading.counts[f"{kind}, {'names of columns' if named else 'a unit'}"] += 1
    return values


def _separator(path: str | os.PathLike, lines: Sequence[str]) -> str | None:
    """What is between the numbers of a table that begins so; None stands for blanks.

    Raises:
      Defect: naming what is between them, or within, if it is not read.
    """
    for line in reversed(lines):  # the names' may be within them
        if other := re.search(r"\d\s*([|:/&])", line):
            text = f"{path}: has {other[1]!r} between its numbers"
            raise Defect("unreadable", f"{text}; write commas, semicolons, tabs or blanks")
        if found := next((mark for mark in ";\t," if mark in line), None):
            if found != "," and re.search(r"\d,\d", line):
                raise Defect(
                    "unreadable", f"{path}: has commas within its numbers; write 0.5 and not 0,5"
                )
            return found
    return None


def _first_line(path: str | os.PathLike, fields: list[str]) -> str:
    """What the first line of a table may be.

    Raises:
      Defect: if the first column has no name, as row numbers have none: they are no feature.
    """
    if len(fields) > 1 and not fields[0].strip('" '):
        text = f"{path}: its first column has no name and holds row numbers"
        raise Defect("unreadable", f"{text}; write the table without it (pandas: index=False)")
    numbers = [field for field in fields if _is_number(field)]
    whole = [int(float(field)) for field in numbers if _WHOLE.fullmatch(field.strip())]
    if len(numbers) < len(fields):
        return TEXT if len(whole) == len(numbers) else MIXED
    in_a_row = whole == list(range(whole[0], whole[0] + len(fields))) if whole else False
    return NUMBERS if in_a_row and (len(fields) > 2 or whole[0] in (0, 1)) else UNIT


def _is_number(field: str) -> bool:
    with contextlib.suppress(ValueError):
        float(field)
        return True
    return False


_READERS: dict[str, Callable[[str | os.PathLike, Reading], np.ndarray]] = {
    ".npy": lambda path, _: open_array(path, DIMENSIONS),
    ".npz": _load_npz,
    ".csv": _load_csv,
}


def _archive(path: str | os.PathLike) -> np.lib.npyio.NpzFile:
    with _readable(path, "is not an .npz archive"):
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array")
    if not archive.files:
        raise UserError(f"{path}: holds no array; save it anew")
    return archive


def _member(path: str | os.PathLike, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    with _readable(path, f"{name} is damaged"):
        values = archive[name]
    if not isinstance(values, np.ndarray):
        raise UserError(f"{path}: holds {name!r:.80}, which is no array; remove it")
    check_numbers(f"{path}: {name}", values.shape, values.dtype, DIMENSIONS)
    return values


@contextlib.contextmanager
def _readable(path: str | os.PathLike, otherwise: str) -> Iterator[None]:
    """Makes one line of whatever NumPy, zipfile and zlib raise on a broken file."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:80]
        raise UserError(f"{path}: {otherwise} ({reason}); save it anew") from None

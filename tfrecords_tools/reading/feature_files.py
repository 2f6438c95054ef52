"""One array of features: .npy, .npz, .h5 or .csv, read to [T, G] floats; nothing is unpickled."""

import contextlib
import dataclasses
import itertools
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from cpmn_tf.errors import Defect, UserError, listed
from cpmn_tf.formats.arrays import all_finite, check_numbers, open_array
from tfrecords_tools.reading.archives import ARCHIVES, Archive, readable

SUFFIXES = (".npy", ".csv", *ARCHIVES)
DIMENSIONS = ("units", "values")
SOME = 20  # arrays that tell which axis counts crops
CROPS = (3, 5, 10)  # pictures that are cut of a frame: left to right; corners and centre; mirrored
# What the first line of a CSV file may be.
TEXT, MIXED, NUMBERS, UNIT = "text", "text and numbers", "numbers in a row", "other numbers"
_WHOLE = re.compile(r"\d{1,9}(\.0)?")


@dataclasses.dataclass(kw_only=True)
class Reading:
    """How files are read where there are two ways, and what was made of how many.

    Attributes:
      csv_header: whether the first line of CSV files names their columns, ``yes`` or ``no``; None
        takes text for names, and 0, 1, 2, ... before other numbers.
      squeeze: whether axes of length 1 are dropped from arrays of more than two axes.
      crops: ``mean`` averages over the axis of crops, of arrays of three axes.
      counts: files by what is told of them: the subject, and what was made of it.
    """

    csv_header: str | None = None
    squeeze: bool = False
    crops: str | None = None
    counts: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)

    def notes(self) -> list[str]:
        """What was made of how many files, a line for each subject."""
        lines: dict[str, list[str]] = {}
        for (subject, made), count in sorted(self.counts.items()):
            lines.setdefault(subject, []).append(f"{made}: {count}")
        return [f"{subject}: {'; '.join(made)}" for subject, made in lines.items()]


def load_features(path: str | os.PathLike, reading: Reading | None = None) -> np.ndarray:
    """Reads [T, G] numbers as float32, or as float16 where the file holds those.

    Args:
      path: the file.
      reading: how it is read where it can be read in two ways.

    Raises:
      UserError: naming the file, if it is no such array or holds NaN or infinite values.
    """
    reading = reading or Reading()
    return units_of(path, read_array(path, reading), reading)


def read_array(path: str | os.PathLike, reading: Reading) -> np.ndarray:
    """The array in a file, whatever its axes; that of a .npy is not in memory yet.

    Raises:
      UserError: naming the file, if there is not one array in it.
    """
    return _READERS[os.path.splitext(path)[1].lower()](path, reading)


def units_of(
    name: str | os.PathLike,
    values: np.ndarray,
    reading: Reading,
    crops: tuple[int, int] | None = None,
) -> np.ndarray:
    """The [T, G] features that an array holds, checked: finite float32 or float16.

    Args:
      name: of the array, for messages.
      values: of any number of axes.
      reading: whether axes are dropped and averaged over.
      crops: the axis that :func:`crop_axis` found, and its length.

    Raises:
      UserError: naming the array, and the setting that would make [T, G] of it.
    """
    shape = values.shape
    check_numbers(name, shape, values.dtype, DIMENSIONS, any_axes=len(shape) > 2)
    if reading.squeeze and values.ndim > 2:
        squeezed = without_ones(shape, 3 if crops else 2) or shape
        if squeezed != shape:
            values = values.reshape(squeezed)
            reading.counts["arrays", "axes of length 1 dropped"] += 1
    if reading.crops and values.ndim == 3:
        if crops is None:
            text = f"{name}: which axis of its shape {list(shape)} counts crops others do not tell"
            raise Defect("form", f"{text}; average over it and save [units, values]")
        axis, count = crops
        if values.shape[axis] != count:
            text = f"{name}: its shape {list(shape)} has no {count} crops on axis {axis}"
            raise Defect("form", f"{text}, where others have them; save it as the others")
        values = values.mean(axis, dtype=np.result_type(values, np.float32))
        reading.counts["arrays", f"mean of {count} crops taken"] += 1
    if values.ndim > 2:
        text = f"{name}: is an array of {values.dtype} and shape {list(shape)}"
        remedy = _remedy(shape)
        raise Defect("form", f"{text}; it must be of shape [units, values]{remedy}")
    return finite(name, values)


def without_ones(shape: tuple[int, ...], axes: int) -> tuple[int, ...] | None:
    """The shape of that many axes that dropping axes of length 1 leaves; None if it is not one.

    >>> without_ones((7, 1, 4, 1, 1), 2)
    (7, 4)
    >>> without_ones((1, 7, 1), 2)  # [1, 7] or [7, 1]?
    """
    kept = itertools.combinations(shape, axes)
    found = {lengths for lengths in kept if math.prod(lengths) == math.prod(shape)}
    return found.pop() if len(found) == 1 else None


def crop_axis(shapes: Iterable[tuple[int, ...]]) -> tuple[int, int] | None:
    """Which axis of a stream's three-axis arrays counts crops, 0 or 1, and how many.

    It is the one of a length of :data:`CROPS`, the same in all arrays; some of them are enough. One
    of ten units and ten crops leaves it open, and further ones tell.

    Returns:
      The axis and its length; None if it cannot be told.
    """
    first: tuple[int, ...] = ()
    axes: list[int] = []
    for number, shape in enumerate(shapes):
        if not first:
            first, axes = shape, [axis for axis in (0, 1) if shape[axis] in CROPS]
        axes = [axis for axis in axes if shape[axis] == first[axis]]
        if not axes or (len(axes) == 1 and number >= SOME):
            break
    return (axes[0], first[axes[0]]) if len(axes) == 1 else None


def _remedy(shape: tuple[int, ...]) -> str:
    """The settings that would make [T, G] of an array of that shape, or ''."""
    if without_ones(shape, 2):
        return ": add `squeeze=True`"
    fewer = without_ones(shape, 3)
    if fewer and 1 not in fewer and set(fewer[:2]) & set(CROPS):
        return ": add `crops=mean`" + (" and `squeeze=True`" if fewer != shape else "")
    return ""


def load_archive(
    path: str | os.PathLike,
    names: Sequence[str],
    reading: Reading,
    crops: Callable[[str], tuple[int, int] | None],
) -> dict[str, np.ndarray]:
    """Reads a video's .npz or .h5 that holds an array per stream.

    Args:
      path: the file.
      names: of the streams that it must hold, sorted.
      reading: how arrays are read.
      crops: gives a stream's axis of crops.

    Raises:
      UserError: naming the file.
    """
    with Archive(path) as archive:
        if archive.names != list(names):
            raise UserError(
                f"{path}: holds {listed(archive.names)} instead of {listed(names)}; give each "
                "video the same streams"
            )
        return {
            name: units_of(f"{path}: {name}", archive.read(name), reading, crops(name))
            for name in names
        }


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


def _read_archive(path: str | os.PathLike, reading: Reading) -> np.ndarray:
    with Archive(path) as archive:
        if len(archive.names) != 1:
            raise UserError(
                f"{path}: holds {len(archive.names)} arrays ({listed(archive.names)}); keep one, "
                f"or one per stream in FEATURES/ID{os.path.splitext(path)[1]}"
            )
        return archive.read(archive.names[0])


def _load_csv(path: str | os.PathLike, reading: Reading) -> np.ndarray:
    """A line of numbers per unit, between commas, semicolons, tabs or blanks."""
    with readable(path, "is not a table of numbers"):
        with open(path, encoding="utf-8-sig") as file:
            lines = [line for line in file if line.strip()]
        separator = _separator(path, lines[:2])
        fields = lines[0].strip().split(separator) if lines else []
        kind = _first_line(path, fields)
        if reading.csv_header == "no" and kind in (TEXT, MIXED):
            raise Defect("form", f"{path}: its first line holds text; leave out `csv_header=no`")
        if reading.csv_header is None and kind == MIXED:
            text = f"{path}: its first line holds text and numbers ({lines[0].strip():.40})"
            raise Defect("form", f"{text}; mend it, or say `csv_header=yes`")
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
                "form",
                f"{text} ({lines[0].strip():.40}); say `csv_header=yes` or `csv_header=no`",
            )
        values, named = values[1:], True
    if values.size == 0:
        raise Defect("unreadable", f"{path}: holds no number; encode the video anew")
    if named and separator and len(fields) != values.shape[1]:
        text = f"{path}: names {len(fields)} columns and has {values.shape[1]}"
        raise Defect("form", f"{text}; write each column with its name")
    first, others = values[:, 0], values[:, 1:]
    counting = (
        len(values) > 2
        and first[0] in (0, 1)
        and np.array_equal(first, first[0] + np.arange(len(first)))
    )
    if counting and (others != np.rint(others)).any():
        text = f"{path}: its first column counts the lines"
        raise Defect("form", f"{text}; write the table without it (pandas: index=False)")
    made = f"{kind}, {'names of columns' if named else 'a unit'}"
    reading.counts["first lines of CSV files", made] += 1
    return values


def _separator(path: str | os.PathLike, lines: Sequence[str]) -> str | None:
    """What is between the numbers of a table that begins so; None stands for blanks.

    Raises:
      Defect: naming what is between them, or within, if it is not read.
    """
    for line in reversed(lines):  # the names' may be within them
        if other := re.search(r"\d\s*([|:/&])", line):
            text = f"{path}: has {other[1]!r} between its numbers"
            raise Defect("form", f"{text}; write commas, semicolons, tabs or blanks")
        if found := next((mark for mark in ";\t," if mark in line), None):
            if found != "," and re.search(r"\d,\d", line):
                raise Defect(
                    "form", f"{path}: has commas within its numbers; write 0.5 and not 0,5"
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
        raise Defect("form", f"{text}; write the table without it (pandas: index=False)")
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
    ".npy": lambda path, _: open_array(path, DIMENSIONS, any_axes=True),
    ".csv": _load_csv,
    **dict.fromkeys(ARCHIVES, _read_archive),
}

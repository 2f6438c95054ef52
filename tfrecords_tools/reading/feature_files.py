"""One feature file: .npy, .npz or .csv, read to [T, G] floats; nothing is unpickled."""

import contextlib
import functools
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from cpmn_tf.errors import Defect, UserError
from cpmn_tf.formats.arrays import all_finite, check_numbers, open_array
from tfrecords_tools.findings import listed

SUFFIXES = (".npy", ".npz", ".csv")
DIMENSIONS = ("units", "values")
_NUMBER = re.compile(r"[-+]?(\d|\.\d|nan|inf)", re.IGNORECASE)


def load_features(path: str | os.PathLike) -> np.ndarray:
    """Reads [T, G] numbers as float32, or as float16 where the file holds those.

    Raises:
      UserError: naming the file, if it is no such array or holds NaN or infinite values.
    """
    return finite(path, _READERS[os.path.splitext(path)[1]](path))


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


def _load_npz(path: str | os.PathLike) -> np.ndarray:
    with _archive(path) as archive:
        if len(archive.files) != 1:
            raise UserError(
                f"{path}: holds {len(archive.files)} arrays ({listed(archive.files)}); keep one, "
                "or one per stream in FEATURES/ID.npz"
            )
        return _member(path, archive, archive.files[0])


def _load_csv(path: str | os.PathLike) -> np.ndarray:
    """A line of comma-separated numbers per unit, with or without a header."""
    with _readable(path, "is not a table of numbers"), open(path, encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        skipped = int(first.endswith("\n") and _is_header(path, first))
        with warnings.catch_warnings():  # of no data: an error below
            warnings.simplefilter("ignore", UserWarning)
            values = np.loadtxt(
                file, np.float32, delimiter=",", ndmin=2, comments=None, skiprows=skipped
            )
    if values.size == 0:
        raise Defect("unreadable", f"{path}: holds no number; encode the video anew")
    return values


def _is_header(path: str | os.PathLike, line: str) -> bool:
    """Whether a table's first line names its columns; numbers 0, 1, 2, ... are pandas' names.

    Raises:
      Defect: if the first column has no name, as row numbers have none: they are no feature.
    """
    fields = [field.strip(' "\n') for field in line.split(",")]
    if not fields[0] and len(fields) > 1:
        text = "its first column has no name and holds row numbers; write the table without it"
        raise Defect("unreadable", f"{path}: {text} (pandas: index=False)")
    numbered = len(fields) > 3 and fields == [str(number) for number in range(len(fields))]
    return numbered or not all(_NUMBER.match(field) for field in fields)


_READERS: dict[str, Callable[[str | os.PathLike], np.ndarray]] = {
    ".npy": functools.partial(open_array, dimensions=DIMENSIONS),
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

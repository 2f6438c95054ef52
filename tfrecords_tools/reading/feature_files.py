"""One feature file: .npy, .npz or .csv, read to [T, G] floats after it was held against its size.

Nothing is unpickled, and no memory is taken on a file's word: a header must agree with the file's
length, and an archive that would grow a hundredfold is refused.
"""

import math
import os
import re
import stat
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from cpmn_tf.data.schema import MAX_RECORD
from cpmn_tf.errors import UserError
from cpmn_tf.formats.arrays import all_finite, check_numbers, open_array, read_header
from tfrecords_tools.findings import Defect

SUFFIXES = (".npy", ".npz", ".csv")
DIMENSIONS = ("units", "values")
MAX_GROWTH = 100  # an archive's arrays together may be so many times its size ...
MAX_SMALL = 64 << 20  # ... unless they stay below this
MAX_VALUES = MAX_RECORD // 2  # more, and not even float16 fits into a record
SHOWN = 5  # names in an error
_NUMBER = re.compile(r"[-+]?(\d|\.\d|nan|inf)", re.IGNORECASE)
_BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


def load_features(path: str | os.PathLike) -> np.ndarray:
    """Reads [T, G] numbers as float32, or as float16 where the file holds those.

    Raises:
      UserError: naming the file, if it is no such array or holds NaN or infinite values.
    """
    _check_regular(path)
    return finite(path, _READERS[os.path.splitext(path)[1]](path))


def load_streams(
    path: str | os.PathLike, split_at: int | None, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Reads a file that holds all streams of a video.

    Args:
      path: with ``split_at`` a file of one array, whose first ``split_at`` columns are ``rgb`` and
        the others ``flow``; without it an .npz with an array per stream, named by it.
      split_at: as above.
      names: of the streams that an .npz must hold, sorted.

    Raises:
      UserError: naming the file.
    """
    if split_at is not None:
        values = load_features(path)
        if values.shape[1] <= split_at:
            raise Defect(
                "width",
                f"{path}: holds {values.shape[1]} values per unit; --split_at={split_at} leaves "
                "nothing for the second stream",
            )
        return split_columns(values, split_at)
    with _archive(path) as archive:
        members = _members(path, archive)
        if sorted(members) != list(names):  # before any is read: there may be very many
            raise UserError(
                f"{path}: holds {_listed(sorted(members))} instead of {_listed(names)}; give each "
                "video the same streams"
            )
        return {
            name: finite(f"{path}: {name}", _member(path, archive, members[name])) for name in names
        }


def split_columns(values: np.ndarray, split_at: int) -> dict[str, np.ndarray]:
    """``rgb`` and ``flow`` of joint [T, G] features."""
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
        return sorted(_members(path, archive))


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


def _check_regular(path: str | os.PathLike) -> None:
    """Refuses what is no file: opening a pipe would wait for ever, a device may never end."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: is not a file; remove it")


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _load_npy(path: str | os.PathLike) -> np.ndarray:
    values = open_array(path, DIMENSIONS)
    if values.size > MAX_VALUES:  # a file with holes costs its author nothing
        raise UserError(f"{path}: holds {values.size} values, a record {MAX_VALUES}; cut the video")
    return values


def _load_npz(path: str | os.PathLike) -> np.ndarray:
    with _archive(path) as archive:
        members = _members(path, archive)
        if len(members) != 1:
            raise UserError(
                f"{path}: holds {len(members)} arrays ({_listed(members)}); keep one, or one "
                "per stream in FEATURES/ID.npz"
            )
        return _member(path, archive, next(iter(members.values())))


def _load_csv(path: str | os.PathLike) -> np.ndarray:
    """A line of comma-separated numbers per unit, with or without a header."""
    try:
        size = os.path.getsize(path)
        if size > 2 * MAX_RECORD:
            raise UserError(f"{path}: has {size} bytes; save features of this size as .npy")
        with open(path, encoding="utf-8-sig") as file:
            first = file.readline(1 << 22)
            file.seek(0)
            skipped = int(first.endswith("\n") and _is_header(path, first))
            with warnings.catch_warnings():  # of no data: an error below
                warnings.simplefilter("ignore", UserWarning)
                values = np.loadtxt(
                    file, np.float32, delimiter=",", ndmin=2, comments=None, skiprows=skipped
                )
    except UserError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path}: is not a table of numbers ({reason}); write it anew") from None
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
    ".npy": _load_npy,
    ".npz": _load_npz,
    ".csv": _load_csv,
}


def _archive(path: str | os.PathLike) -> zipfile.ZipFile:
    _check_regular(path)
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except _BROKEN_ZIP as error:
        raise UserError(f"{path}: is not an .npz archive ({error}); save it anew") from None


def _members(path: str | os.PathLike, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The archive's arrays by name, sizes checked."""
    members = {}
    for info in archive.infolist():
        if not info.filename.endswith(".npy"):
            raise UserError(f"{path}: holds {info.filename!r:.80}, which is no array; remove it")
        members[info.filename.removesuffix(".npy")] = info
    if not members:
        raise UserError(f"{path}: holds no array; save it anew")
    # Of all together, and of the file itself: members may share their packed bytes.
    packed, size = os.path.getsize(path), sum(info.file_size for info in members.values())
    if size > min(4 * MAX_RECORD, max(MAX_SMALL, MAX_GROWTH * packed)):
        raise UserError(
            f"{path}: would grow from {packed} to {size} bytes, which features do not; save it as "
            ".npy"
        )
    return members


def _member(path: str | os.PathLike, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    name = f"{path}: {info.filename}"
    try:
        with archive.open(info) as file:
            shape, fortran, dtype = read_header(file, name)
            check_numbers(name, shape, dtype, DIMENSIONS)
            size = math.prod(shape) * dtype.itemsize
            if file.tell() + size != info.file_size:
                raise UserError(f"{name}: is not as long as its header says; copy the file anew")
            data = file.read(size + 1)  # one more, so that the end and its checksum are reached
    except UserError:
        raise
    except _BROKEN_ZIP as error:
        raise UserError(f"{path}: is damaged ({error}); copy the file anew") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the disk") from None
    if len(data) != size:
        raise UserError(f"{name}: is not as long as its header says; copy the file anew")
    return _shaped(data, dtype, shape, fortran)


def _shaped(data: bytes, dtype: np.dtype, shape: Sequence[int], fortran: bool) -> np.ndarray:
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")

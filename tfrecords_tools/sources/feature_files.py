"""One feature file: .npy, .npz or .csv, read to [T, G] floats after it was held against its size.

Nothing is unpickled, and no memory is taken on a file's word: a header must agree with the file's
length, and an archive that would grow a hundredfold is refused.
"""

import math
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from cpmn_tf.data.arrays import all_finite, check_numbers, open_array, read_header
from cpmn_tf.data.schema import MAX_RECORD
from cpmn_tf.errors import UserError
from tfrecords_tools.findings import Defect

SUFFIXES = (".npy", ".npz", ".csv")
DIMENSIONS = ("units", "values")
MAX_GROWTH = 100  # an archive's member may be so many times its packed size ...
MAX_SMALL = 64 << 20  # ... unless it stays below this
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
    return finite(path, _READERS[os.path.splitext(path)[1]](path))


def load_streams(path: str | os.PathLike, split_at: int | None) -> dict[str, np.ndarray]:
    """Reads a file that holds all streams of a video.

    Args:
      path: with ``split_at`` a file of one array, whose first ``split_at`` columns are ``rgb`` and
        the others ``flow``; without it an .npz with an array per stream, named by it.
      split_at: as above.

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
        return {
            name: finite(f"{path}: {name}", _member(path, archive, info))
            for name, info in sorted(_members(path, archive).items())
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


def _load_npy(path: str | os.PathLike) -> np.ndarray:
    return open_array(path, DIMENSIONS)


def _load_npz(path: str | os.PathLike) -> np.ndarray:
    with _archive(path) as archive:
        members = _members(path, archive)
        if len(members) != 1:
            raise UserError(
                f"{path}: holds {len(members)} arrays ({', '.join(members)}); keep one, or one "
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
            if first.endswith("\n"):
                skipped = not all(_NUMBER.match(field.strip(' "\n')) for field in first.split(","))
            else:
                skipped = False
            values = np.loadtxt(
                file, np.float32, delimiter=",", ndmin=2, comments=None, skiprows=int(skipped)
            )
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


_READERS: dict[str, Callable[[str | os.PathLike], np.ndarray]] = {
    ".npy": _load_npy,
    ".npz": _load_npz,
    ".csv": _load_csv,
}


def _archive(path: str | os.PathLike) -> zipfile.ZipFile:
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
        allowed = min(MAX_RECORD, max(MAX_SMALL, MAX_GROWTH * info.compress_size))
        if info.file_size > allowed:
            raise UserError(
                f"{path}: {info.filename!r:.80} would grow from {info.compress_size} to "
                f"{info.file_size} bytes, which features do not; save it as .npy"
            )
        members[info.filename.removesuffix(".npy")] = info
    if not members:
        raise UserError(f"{path}: holds no array; save it anew")
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

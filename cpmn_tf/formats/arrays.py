"""Opening .npy files from outside: no pickle, and no memory taken on a header's word."""

import math
import os
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from cpmn_tf.errors import UserError

_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def open_array(
    path: str | os.PathLike, dimensions: Sequence[str], *, any_axes: bool = False
) -> np.ndarray:
    """Memory-maps an array of real numbers, after its header was held against the file's size.

    Args:
      path: a .npy file.
      dimensions: what each axis counts, such as ``("units", "values")``; no axis may be empty.
      any_axes: fewer or more axes are let pass.

    Returns:
      A read-only array of any integer, boolean or floating type, not read yet.

    Raises:
      UserError: naming the file, if it cannot be read, is no such array, or is cut short.
    """
    try:
        with open(path, "rb") as file:
            shape, fortran, dtype = read_header(file, path)
            begin = file.tell()
        check_numbers(path, shape, dtype, dimensions, any_axes=any_axes)
        if os.path.getsize(path) != begin + math.prod(shape) * dtype.itemsize:
            raise UserError(f"{path}: is not as long as its header says; copy the file anew")
        return np.memmap(os.fspath(path), dtype, "r", begin, shape, "F" if fortran else "C")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def read_header(file: BinaryIO, name: str | os.PathLike) -> tuple[tuple, bool, np.dtype]:
    """Reads an array's header: its shape, whether it is in Fortran's order, and its type.

    Args:
      file: at the begin of a .npy file or of an .npz's member; afterwards at its data.
      name: for errors.

    Raises:
      UserError: if there is no such header.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"format version {version}")
        return _READERS[version](file)
    except Exception as error:  # NumPy reads a header as Python's literals; anything may come of it
        reason = " ".join(str(error).split())[:80]
        text = f"{name}: is not a NumPy array file ({reason}); save it anew"
        raise UserError(text) from None


def check_numbers(
    name: str | os.PathLike,
    shape: tuple,
    dtype: np.dtype,
    dimensions: Sequence[str],
    *,
    any_axes: bool = False,
) -> None:
    """Checks what a header says of an array of real numbers; no axis may be empty.

    Raises:
      UserError: naming ``name``.
    """
    fits = (any_axes or len(shape) == len(dimensions)) and dtype.kind in "fiub"
    if fits and 0 in shape:
        raise UserError(f"{name}: has the shape {list(shape)} and so no value; make it anew")
    if not fits or min(shape, default=1) < 1:
        raise UserError(
            f"{name}: is an array of {dtype} and shape {list(shape)}; "
            f"it must be numbers of shape [{', '.join(dimensions)}]"
        )


def all_finite(values: np.ndarray) -> bool:
    """Whether no float16 or float32 value is NaN or infinite, several times faster than a mask."""
    if values.dtype == np.float16:
        exponents = np.ascontiguousarray(values).view(np.uint16) & 0x7C00
        return int(exponents.max(initial=0)) < 0x7C00  # the exponent of NaN and infinity is full
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(values)):  # as it is if they all are, unless they are huge
            return True
    return bool(np.isfinite(values).all())

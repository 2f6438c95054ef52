"""Opening .npy files from outside: no pickle, and no memory taken on a header's word."""

import math
import os
import tokenize
from collections.abc import Sequence

import numpy as np

from cpmn_tf.errors import UserError

_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# What NumPy raises on a header that it cannot make sense of: it is read as Python's literals.
_UNREADABLE = (
    ArithmeticError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
)


def open_array(path: str | os.PathLike, dimensions: Sequence[str]) -> np.ndarray:
    """Memory-maps an array of real numbers, after its header was held against the file's size.

    Args:
      path: a .npy file.
      dimensions: what each axis counts, such as ``("units", "values")``; no axis may be empty.

    Returns:
      A read-only array of any integer, boolean or floating type, not read yet.

    Raises:
      UserError: naming the file, if it cannot be read, is no such array, or is cut short.
    """
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            if version not in _READERS:
                raise ValueError(f"format version {version}")
            shape, _, dtype = _READERS[version](file)
            size = file.tell() + math.prod(shape) * dtype.itemsize
        wanted = ", ".join(dimensions)
        if len(shape) != len(dimensions) or min(shape) < 1 or dtype.kind not in "fiub":
            raise UserError(
                f"{path}: is an array of {dtype} and shape {list(shape)}; "
                f"it must be numbers of shape [{wanted}]"
            )
        if os.path.getsize(path) != size:
            raise UserError(f"{path}: is not as long as its header says; copy the file anew")
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:80]
        raise UserError(f"{path}: is not a NumPy array file ({reason}); save it anew") from None

"""Reads NumPy files of objects by an unpickler that knows only what arrays are made of.

A pickle is a program: reading one calls what its author named. Here it can name NumPy's arrays,
types and scalars, for which functions of this module are called; any other name is refused.
"""

import math
import mmap
import os
import pickle
import re
import sys
from typing import Any, BinaryIO

import numpy as np

from cpmn_tf.errors import UserError
from cpmn_tf.formats.arrays import read_header

MAX_ITEMS = 1 << 24  # objects in one array, those in its lists included
MAX_DEPTH = 8  # lists in lists: of videos, of segments, of numbers, and some to spare
_DTYPE = re.compile(r"[fiu][1248]|b1|[SU][1-9]\d{0,5}|O8?")


class _Refused(Exception):
    """What the file asks for is not among the few things that are done."""


def read_objects(path: str | os.PathLike) -> list:
    """The items along an array's first axis: numbers, text, lists, or arrays.

    Args:
      path: a .npy file of objects, numbers or text.

    Raises:
      UserError: naming the file, if it is none, is cut short, or asks for anything to be run.
    """
    try:
        with open(path, "rb") as file:
            shape, fortran, dtype = read_header(file, path)
            if not shape or min(shape) < 0:
                raise UserError(f"{path}: is an array of shape {list(shape)}; it must be a list")
            if dtype.kind == "O":
                return _objects(path, file)
            size = os.path.getsize(path) - file.tell()
            fits = dtype.kind in "fiubSU" and dtype.itemsize > 0
            if not fits or math.prod(shape) * dtype.itemsize != size:
                raise UserError(f"{path}: is not as long as its header says; copy the file anew")
            array = np.fromfile(file, dtype).reshape(shape, order="F" if fortran else "C")
            _check_text(array)
    except _Refused as error:
        raise UserError(f"{path}: {error}; save it anew") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    return list(array) if array.ndim > 1 else array.tolist()


def _objects(path: str | os.PathLike, file: BinaryIO) -> list:
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            content.seek(file.tell())
            value = _Unpickler(content, encoding="bytes").load()
        _check(value)
    except _Refused as error:
        raise UserError(
            f"{path}: {error}, which data do not need; nothing of it was run: do not trust it"
        ) from None
    except Exception as error:  # unpickling what is damaged may raise anything
        reason = " ".join(str(error).split())[:60] or type(error).__name__
        raise UserError(f"{path}: is damaged or cut short ({reason}); copy it anew") from None
    if not isinstance(value, _Array) or value.dtype.kind != "O":
        raise UserError(f"{path}: holds no array of objects; save it anew")
    return value.ravel().tolist()


def _check(value: Any) -> None:
    """Refuses what is no data, and lists that hold themselves or more than memory could."""
    count, waiting = 0, [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, _Array):
            _check_text(item)
            item = item.ravel().tolist() if item.dtype.kind == "O" else None
        if isinstance(item, (list, tuple)):
            count += len(item)
            if depth > MAX_DEPTH or count > MAX_ITEMS:
                raise _Refused("holds lists in lists without end")
            waiting += [(inner, depth + 1) for inner in item]
        elif not isinstance(item, (str, bytes, int, float, type(None))):
            raise _Refused(f"holds an object of the type {type(item).__name__}")


def _check_text(array: np.ndarray) -> None:
    """Refuses numbers that stand for no character: text made of them is broken."""
    if array.dtype.kind == "U":
        codes = np.frombuffer(array.tobytes(), np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if codes.max(initial=0) > sys.maxunicode:
            raise _Refused("holds what is no text")


# Python's own, not C's, which takes memory on the file's word: 16 GiB for a memo's index.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy._core", "numpy.core")
        if (module, name) not in _KNOWN:
            raise _Refused(f"asks for {module}.{name}"[:80])
        return _KNOWN[module, name]


class _Type:
    """Takes the place of ``numpy.dtype``, whose state may claim anything."""

    def __init__(self, text: str | bytes, *_: Any):
        name = _text(text)
        if not _DTYPE.fullmatch(name):
            raise _Refused(f"holds an array of type {name!r:.40}")
        self.dtype: np.dtype = np.dtype("O" if name == "O8" else name)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(_text(state[1]))


class _Array(np.ndarray):
    """An array whose state is checked before memory is taken."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        size = len(data) * (1 if kind.dtype.kind == "O" else 1 / kind.dtype.itemsize)
        if min(shape, default=0) < 0 or math.prod(shape) != size:
            raise ValueError("data of another length")
        super().__setstate__((1, tuple(shape), kind.dtype, fortran, data))


def _reconstruct(*_: Any) -> _Array:
    return np.ndarray.__new__(_Array, (0,), np.int8)


def _scalar(kind: _Type, data: bytes) -> Any:
    array = np.frombuffer(data, kind.dtype, count=1)
    _check_text(array)
    return array[0].item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _Refused(f"asks for the encoding {encoding!r:.40}")
    return text.encode("latin1")


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy", "ndarray"): None,  # only handed to _reconstruct
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
}


def _text(value: str | bytes) -> Any:
    """Text, which Python 2 pickled as bytes."""
    return value.decode("ascii") if isinstance(value, bytes) else value

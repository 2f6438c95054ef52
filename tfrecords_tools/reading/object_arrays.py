"""Reads NumPy files of objects without unpickling them.

A pickle is a program: reading one runs what its author wrote. Such a file of arrays, lists, strings
and numbers needs few of its instructions, so that this module steps through those and knows no
others; nothing is imported or called on the file's word. Arrays inside stay in the file (it is
mapped) until they are asked for, so that a data set larger than the memory can be read.
"""

import dataclasses
import math
import mmap
import os
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from cpmn_tf.errors import UserError
from cpmn_tf.formats.arrays import read_header

MAX_ITEMS = 1 << 24  # objects in one array, those in its lists included
MAX_DEPTH = 8  # lists in lists: of videos, of segments, of numbers, and some to spare
_DTYPE = re.compile(r"[<>|=]?(?:[fiu][1248]|b1|[SUO]\d{0,6})")
_ORDERS = ("<", ">", "|", "=")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NAMES = {
    *((module, name) for module in _NUMPY for name in ("_reconstruct", "scalar")),
    *(("numpy", name) for name in ("ndarray", "dtype")),
    ("_codecs", "encode"),
}

_BYTES = {"U": "<B", "C": "<B", "T": "<i", "B": "<I", "\x8e": "<Q"}
_TEXT = {"\x8c": "<B", "X": "<I", "\x8d": "<Q"}
_NUMBERS = {"K": "<B", "M": "<H", "J": "<i", "G": ">d"}
_CONSTANTS = {"N": None, "\x88": True, "\x89": False}
_PUTS, _GETS = {"q": "<B", "r": "<I"}, {"h": "<B", "j": "<I"}
_TUPLES = {")": 0, "\x85": 1, "\x86": 2, "\x87": 3}
_SKIPPED = {"\x80": 1, "\x95": 8}  # protocol number, frame length


class _Refused(Exception):
    """What the file asks for is not among the few things that are done."""


@dataclasses.dataclass
class _Name:
    module: str
    name: str


@dataclasses.dataclass
class _Type:
    text: str
    order: str = "<"
    size: int = 0

    def dtype(self) -> np.dtype:
        """The type, of numbers, text or objects."""
        text = self.text + (str(self.size) if self.text in ("S", "U") and self.size else "")
        if not _DTYPE.fullmatch(text):
            raise _Refused(f"an array of type {self.text!r:.40}")
        dtype = np.dtype(text)
        return dtype if dtype.kind in "OSb" else dtype.newbyteorder(self.order)


@dataclasses.dataclass
class StoredArray:
    """An array inside the file, read by :meth:`load`; ``items`` holds the objects of one of those.

    ``data`` are its bytes, or None; ``shape``, ``dtype`` and ``fortran`` say how to see them.
    """

    shape: tuple[int, ...] = ()
    dtype: np.dtype | None = None
    fortran: bool = False
    data: Any = None
    items: list | None = None

    def load(self) -> np.ndarray:
        """The array, a view of the mapped file."""
        order = "F" if self.fortran else "C"
        return np.frombuffer(self.data, self.dtype).reshape(self.shape, order=order)


def read_objects(path: str | os.PathLike) -> list:
    """The items along an array's first axis: numbers, text, lists, or :class:`StoredArray`.

    Args:
      path: a .npy file of objects, numbers or text.

    Raises:
      UserError: naming the file, if it is none, is cut short, or asks for anything to be run.
    """
    try:
        with open(path, "rb") as file:
            shape, fortran, dtype = read_header(file, path)
            begin = file.tell()
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[begin:]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if not shape or min(shape) < 0 or (math.prod(shape) > MAX_ITEMS and dtype.kind == "O"):
        raise UserError(f"{path}: is an array of shape {list(shape)}; it must be a list")
    if dtype.kind == "O":
        return _objects(path, view)
    size = dtype.itemsize * math.prod(shape)
    if dtype.kind not in "fiubSU" or not dtype.itemsize or size != len(view):
        raise UserError(f"{path}: is not as long as its header says; copy the file anew")
    array = StoredArray(shape, dtype, fortran, view)
    return list(array.load()) if len(shape) > 1 else array.load().tolist()


def _objects(path: str | os.PathLike, view: memoryview) -> list:
    try:
        value = _Reader(view).run()
        _check_nesting(value)
    except _Refused as error:
        raise UserError(
            f"{path}: asks for {error}, which data do not need; it was not run: do not trust it"
        ) from None
    except (
        ArithmeticError,
        AttributeError,
        IndexError,
        KeyError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        reason = " ".join(str(error).split())[:60]
        raise UserError(f"{path}: is damaged or cut short ({reason}); copy it anew") from None
    if not isinstance(value, StoredArray) or value.items is None:
        raise UserError(f"{path}: holds no array of objects; save it anew")
    return value.items


def _check_nesting(value: Any) -> None:
    """Refuses lists that hold themselves, or one another so often that nothing could hold them."""
    count = 0
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, StoredArray):
            item = item.items
        if not isinstance(item, (list, tuple)):
            continue
        count += len(item)
        if depth > MAX_DEPTH or count > MAX_ITEMS:
            raise _Refused("lists in lists without end")
        waiting += [(inner, depth + 1) for inner in item]


class _Reader:
    """Steps through a pickle's instructions."""

    def __init__(self, view: memoryview):
        self._view, self._place = view, 0
        self._stack: list = []
        self._marks: list[list] = []
        self._memo: dict[int, Any] = {}
        self._steps: dict[str, Callable[[], None]] = {
            "(": self._mark,
            "t": lambda: self._collect(tuple),
            "l": lambda: self._collect(list),
            "]": lambda: self._stack.append([]),
            "a": self._append,
            "e": self._extend,
            "c": self._global_lines,
            "\x93": self._global_stack,
            "R": self._reduce,
            "b": self._build,
            "0": lambda: self._stack.pop(),
            "\x8a": self._long,
            "\x94": lambda: self._remember(len(self._memo)),
        }

    def run(self) -> Any:
        """The value that the instructions make."""
        while True:
            code = chr(self._take(1)[0])
            if code == ".":
                return self._stack.pop()
            self._step(code)

    def _step(self, code: str) -> None:
        if code in self._steps:
            self._steps[code]()
        elif code in _SKIPPED:
            self._take(_SKIPPED[code])
        elif code in _BYTES:
            self._stack.append(self._take(self._number(_BYTES[code])))
        elif code in _TEXT:
            self._stack.append(str(self._take(self._number(_TEXT[code])), "utf-8"))
        elif code in _NUMBERS:
            self._stack.append(self._number(_NUMBERS[code]))
        elif code in _CONSTANTS:
            self._stack.append(_CONSTANTS[code])
        elif code in _PUTS:
            self._remember(self._number(_PUTS[code]))
        elif code in _GETS:
            self._stack.append(self._memo[self._number(_GETS[code])])
        elif code in _TUPLES:
            begin = len(self._stack) - _TUPLES[code]
            self._stack[begin:] = [tuple(self._stack[begin:])]
        else:
            raise _Refused(f"the instruction {code!r}")

    def _take(self, count: int) -> memoryview:
        if not 0 <= count <= len(self._view) - self._place:
            raise ValueError("its end is missing")
        self._place += count
        return self._view[self._place - count : self._place]

    def _number(self, code: str) -> int | float:
        return struct.unpack(code, self._take(struct.calcsize(code)))[0]

    def _long(self) -> None:
        self._stack.append(int.from_bytes(self._take(self._number("<B")), "little", signed=True))

    def _remember(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def _mark(self) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _unmark(self) -> list:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _collect(self, kind: type) -> None:
        items = self._unmark()
        self._stack.append(kind(items))

    def _append(self) -> None:
        item = self._stack.pop()
        self._list().append(item)

    def _extend(self) -> None:
        items = self._unmark()
        self._list().extend(items)

    def _list(self) -> list:
        if type(self._stack[-1]) is not list:
            raise _Refused("an object of its own")
        return self._stack[-1]

    def _line(self) -> str:
        line = bytes(self._view[self._place : self._place + 200])
        self._take(line.index(b"\n") + 1)
        return line.split(b"\n")[0].decode()

    def _global_lines(self) -> None:
        self._stack.append(_known(_Name(self._line(), self._line())))

    def _global_stack(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(_known(_Name(str(module), str(name))))

    def _reduce(self) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        if not isinstance(name, _Name) or not isinstance(arguments, tuple):
            raise _Refused("something to be called")
        self._stack.append(_made(name, arguments))

    def _build(self) -> None:
        state, value = self._stack.pop(), self._stack[-1]
        if isinstance(value, _Type):
            _, value.order, sub, names, fields, size = state[:6]
            if sub is not None or names is not None or fields is not None:
                raise _Refused("an array of records")
            value.order, value.size = _text(value.order), max(size, 0)
            if value.order not in _ORDERS:
                raise _Refused(f"the byte order {value.order!r:.20}")
            value.size //= 4 if value.text == "U" else 1
        elif isinstance(value, StoredArray):
            _fill(value, state)
        else:
            raise _Refused("an object of its own")


def _known(name: _Name) -> _Name:
    """``name``, if it is one of those that arrays are pickled by."""
    if (name.module, name.name) not in _NAMES:
        raise _Refused(f"{name.module}.{name.name}"[:80])
    return name


def _made(name: _Name, arguments: tuple) -> Any:
    """What one of the few calls makes that arrays need."""
    if name.module in _NUMPY and name.name == "_reconstruct":
        return StoredArray()
    if (name.module, name.name) == ("numpy", "dtype"):
        text = _text(arguments[0])
        return _Type(re.sub(r"^([SU])\d+$", r"\1", text))
    if (name.module, name.name) == ("_codecs", "encode") and arguments[1:] == ("latin1",):
        return memoryview(arguments[0].encode("latin1"))
    if name.module in _NUMPY and name.name == "scalar" and isinstance(arguments[0], _Type):
        dtype = arguments[0].dtype()
        if dtype.kind != "O":
            return np.frombuffer(arguments[1], dtype, count=1)[0].item()
    raise _Refused(f"{name.module}.{name.name} of something unknown")


def _fill(array: StoredArray, state: tuple) -> None:
    _, shape, kind, fortran, data = state
    dtype = kind.dtype()
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"shape {shape}")
    count = math.prod(shape)
    array.shape, array.dtype, array.fortran = tuple(shape), dtype, bool(fortran)
    if dtype.kind == "O":
        if type(data) is not list or len(data) != count:
            raise ValueError("a list of another length")
        array.items = data
        return
    if len(data) != count * dtype.itemsize or not isinstance(data, memoryview):
        raise ValueError("data of another length")
    array.data = data


def _text(value: Any) -> str:
    return str(value, "utf-8") if isinstance(value, memoryview) else value

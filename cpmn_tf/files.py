"""Reading and writing files so that nothing is half written and bad input is named."""

import collections
import contextlib
import errno
import fcntl
import hashlib
import io
import itertools
import json
import math
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from absl import logging

from cpmn_tf.errors import Problem, UserError, raise_first

# What writing meets where a disk is full, broken or protected, and where another thing is already.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_DISK |= {errno.EROFS, errno.EACCES, errno.EPERM}
_TAKEN = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG}
_REFUSED = "{}: cannot be written ({}); make room, or choose another folder, and give the same "
_REFUSED += "command again"


def disk_error(error: BaseException) -> str | None:
    """What a disk refused and what to do, in a line; None if ``error`` is of another kind.

    TensorFlow writes checkpoints, events and graphs itself and raises errors of its own, whose
    text holds ``FILE; REASON``.
    """
    if isinstance(error, OSError):
        if error.errno not in _DISK:
            return None
        return _REFUSED.format(error.filename or "a file", error.strerror)
    reasons = "|".join(re.escape(os.strerror(number)) for number in sorted(_DISK))
    found = re.search(rf"^(?:{{{{.*}}}} )?(.+?); ({reasons})", str(error))
    return found and _REFUSED.format(found[1], found[2])


@contextlib.contextmanager
def _remote(path: str) -> Iterator[Any]:
    """Yields ``tf.io.gfile``, whose errors become those of a disk."""
    import tensorflow as tf  # seconds to import, and most paths are local

    try:
        yield tf.io.gfile
    except tf.errors.UnimplementedError:
        scheme = path.partition("://")[0]
        raise UserError(
            f"{path}: TensorFlow opens no paths of {scheme}:// here; copy the folder to a disk, or "
            "install what registers them"
        ) from None
    except tf.errors.OpError as error:
        line = " ".join(str(error.message).split())[:200]
        raise OSError(errno.EIO, line or type(error).__name__) from error


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path is one that ``tf.io.gfile`` opens, such as ``gs://bucket/records``."""
    return "://" in os.fspath(path)


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a file to be read as bytes, on any file system that ``tf.io.gfile`` knows.

    Raises:
      OSError: if it cannot be read.
      UserError: if TensorFlow does not know the path's scheme.
    """
    if not is_remote(path):
        with open(path, "rb") as file:
            yield file
        return
    with _remote(os.fspath(path)) as gfile, gfile.GFile(os.fspath(path), "rb") as file:
        yield file


def is_file(path: str | os.PathLike) -> bool:
    """Whether there is such a file, on any file system as of :func:`opened`."""
    if not is_remote(path):
        return os.path.isfile(path)
    with _remote(os.fspath(path)) as gfile:
        return gfile.exists(os.fspath(path)) and not gfile.isdir(os.fspath(path))


def file_size(path: str | os.PathLike) -> int:
    """The bytes of a file, on any file system as of :func:`opened`."""
    if not is_remote(path):
        return os.path.getsize(path)
    with _remote(os.fspath(path)) as gfile:
        return gfile.stat(os.fspath(path)).length


def local(path: str | os.PathLike) -> pathlib.Path:
    """The path, of what is written or kept locally only, such as a model's folder.

    Raises:
      UserError: if it is on another file system; ``pathlib`` would make a folder ``gs:`` of it.
    """
    if is_remote(path):
        raise UserError(f"{path}: only records are read from elsewhere; give a local path")
    return pathlib.Path(path)


@contextlib.contextmanager
def replaced(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside ``path`` and renames it to ``path`` if the block succeeds.

    Works for a file and for a folder; a folder that is at ``path`` already is an error.

    Raises:
      UserError: if the parent folder cannot be made or written, or the disk is full.
    """
    path = local(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{path.name[:100]}-"
        with tempfile.TemporaryDirectory("", prefix, path.parent, True) as scratch:
            temporary = pathlib.Path(scratch, path.name)
            yield temporary
            if temporary.exists():
                os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _DISK | _TAKEN and os.path.isdir(path.parent):
            raise
        text = f"{path}: cannot be written ({error.strerror}); make room, or choose another path"
        raise UserError(text) from error


@contextlib.contextmanager
def alone_in(folder: str | os.PathLike) -> Iterator[None]:
    """Keeps a folder, which is made, from other processes that ask for it.

    One that dies lets go of it. A file system without locks keeps nobody out, which is logged.

    Raises:
      UserError: if another process has the folder.
    """
    with contextlib.ExitStack() as stack:
        os.makedirs(local(folder), exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another process is writing here; wait until it ends, or stop it"
            ) from None
        except OSError as error:
            logging.warning(
                "%s: its file system has no locks (%s); start nothing else that writes there",
                folder,
                error.strerror,
            )
        yield


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes ``text`` as UTF-8, whole or not at all."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes ``value`` as strict JSON (no NaN), whole or not at all."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_text(path: str | os.PathLike) -> str:
    """A UTF-8 file's text, without a byte order mark.

    Raises:
      UserError: if the file cannot be read or is not UTF-8.
    """
    try:
        with opened(path) as file:
            return io.TextIOWrapper(io.BytesIO(file.read()), "utf-8-sig").read()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def read_json(path: str | os.PathLike, *, problem: Problem = raise_first) -> Any:
    """Reads a JSON file, with or without a byte order mark.

    Args:
      path: the file.
      problem: called where an object holds a key twice, of which the last one counts if it returns,
        and where text holds half a surrogate pair, which is then replaced by `?`.

    Raises:
      UserError: if the file is missing, is not UTF-8 or not JSON.
    """

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            for key, count in collections.Counter(key for key, _ in pairs).items():
                if count > 1:
                    text = f"the key {key!r} is in one object {count} times; keep one of them"
                    problem("duplicate", f"{path}: {text}", key)
        return result

    text = read_text(path)
    try:
        value = json.loads(text, object_pairs_hook=mapping)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            value = _whole(path, value, problem)
        return value
    except UserError:
        raise
    except RecursionError as error:
        raise UserError(f"{path}: is nested too deeply to be annotations or results") from error
    except ValueError as error:
        raise UserError(f"{path}: is not valid JSON ({error}); write the file anew") from error


def _whole(path: str | os.PathLike, value: Any, problem: Problem) -> Any:
    """The value, in whose text no surrogate is alone: no file could be written of it."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        near = text[max(error.start - 20, 0) : error.start + 1]
        problem("annotation", f"{path}: holds half a surrogate pair, in {near!r}; write characters")
        value = json.loads(text.encode(errors="replace"))
    return value


def read_own_json(path: str | os.PathLike) -> Any:
    """Reads what :func:`write_json` wrote, and could write again.

    Raises:
      UserError: if the file is missing or no such JSON, also if a number is not finite or values
        are nested a hundred levels deep.
    """
    value = read_json(path)
    level, depth = [value], 0
    while level:
        if depth == 100:
            raise UserError(f"{path}: is damaged (nested too deeply); make it anew")
        if any(isinstance(item, float) and not math.isfinite(item) for item in level):
            raise UserError(f"{path}: is damaged (it holds NaN or infinity); make it anew")
        inner = [
            item.values() if isinstance(item, dict) else item
            for item in level
            if isinstance(item, dict | list)
        ]
        level, depth = list(itertools.chain.from_iterable(inner)), depth + 1
    return value


def file_sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Raises:
      UserError: if it cannot be read.
    """
    try:
        with opened(path) as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error

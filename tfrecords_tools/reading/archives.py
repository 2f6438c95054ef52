"""Files of several arrays, .npz and .h5, opened without reading them; nothing is unpickled."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from cpmn_tf.errors import UserError

ARCHIVES = (".npz", ".h5", ".hdf5")


@contextlib.contextmanager
def readable(path: str | os.PathLike, otherwise: str) -> Iterator[None]:
    """Makes one line of whatever NumPy, zipfile and zlib raise on a broken file."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:  # h5py's of a broken file have none
            raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
        reason = " ".join(str(error).split())[:80]
        raise UserError(f"{path}: {otherwise} ({reason}); save it anew") from None


class Archive:
    """An open .npz or .h5 file; an array is read when it is asked for.

    Attributes:
      names: of the arrays, sorted; a ``/`` in them is a level of folders.
    """

    def __init__(self, path: str | os.PathLike):
        """Opens it.

        Raises:
          UserError: naming the file, if it is no such file or holds no array.
        """
        self._path = path
        self._file: Any
        if os.path.splitext(path)[1].lower() == ".npz":
            with readable(path, "is not an .npz archive"):
                self._file = np.load(path, allow_pickle=False)
                if not isinstance(self._file, np.lib.npyio.NpzFile):
                    raise ValueError("it is a single array")
            self.names = sorted(self._file.files)
        else:
            from h5py import File, h5o  # Keras brings it

            found: list[str] = []

            def keep(name: bytes, about: Any) -> None:
                if about.type == h5o.TYPE_DATASET:
                    found.append(name.decode())

            with readable(path, "is not an HDF5 file"):
                self._file = File(path, "r")
                h5o.visit(self._file.id, keep, info=True)  # visititems() opens all that it meets
            self.names = sorted(found)
        if not self.names:
            raise UserError(f"{path}: holds no array; save it anew")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, name: str) -> np.ndarray:
        """An array, whatever its axes.

        Raises:
          UserError: naming the file, if the array is damaged, has a shape and no values yet, or
            would have to be unpickled.
        """
        with readable(self._path, f"{name} is damaged"):
            values = self._file[name]
            if not isinstance(values, bytes | np.ndarray):  # HDF5's
                if values.size and not (values.id.get_storage_size() or values.is_virtual):
                    raise UserError(f"{self._path}: {name!r} was never written; save it anew")
                values = values[()]
        if isinstance(values, np.generic):
            return np.asarray(values)
        if not isinstance(values, np.ndarray):
            raise UserError(f"{self._path}: holds {name!r:.80}, which is no array; remove it")
        return values

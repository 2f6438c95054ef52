"""Version folders of an exported model: the newest is loaded, checked, then served.

As TensorFlow Serving with its default policy, the newest version alone, and with
``servable_versions_always_present``: what serves goes on until another version is ready. Imports
neither TensorFlow nor a server.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Generic, NoReturn, TypeVar

from cpmn_tf.errors import UserError
from cpmn_tf.serving.protocol import Refusal

GRAPH_FILE = "saved_model.pb"

T = TypeVar("T")

# (name, size, time of change) of all that a version's folder holds
_Listing = list[tuple[str, int, int]]


@dataclasses.dataclass(frozen=True)
class VersionState:
    """What GetModelStatus says of a version.

    Attributes:
      version: its number.
      state: ``LOADING``, ``AVAILABLE``, ``UNLOADING`` (the last requests that use it go on) or
        ``END``.
      error_code: ``OK``, or the kind of error that ended it.
      error_message: one line, without paths.
    """

    version: int
    state: str
    error_code: str = "OK"
    error_message: str = ""


@dataclasses.dataclass(eq=False)
class Loaded(Generic[T]):
    """A version in memory.

    Attributes:
      version: its number.
      model: what ``load`` returned.
      users: requests that use it now.
    """

    version: int
    model: T
    users: int = 0


class Versions(Generic[T]):
    """The versions under a base path, of which the newest that loads is served.

    A version is a folder whose name is a number and which holds ``saved_model.pb``; it, and the
    base path, may be symbolic links. What it holds is read once: a changed model needs a new
    number. To delete the newest folder is to go back to the one before.
    """

    def __init__(
        self,
        base_path: str | os.PathLike,
        load: Callable[[pathlib.Path], T],
        check: Callable[[T], None],
        report: Callable[[str], None] = lambda _: None,
    ):
        """Looks whether there is a version; :meth:`poll` loads it.

        Args:
          base_path: the folder of version folders.
          load: makes a model of a version's folder.
          check: runs a request through the model. What either raises keeps the version from being
            served.
          report: called with lines worth logging, which hold paths.

        Raises:
          UserError: if there is no version under the base path.
        """
        self.base_path = pathlib.Path(base_path)
        self._load, self._check, self._report = load, check, report
        self._polling = threading.Lock()  # one poll at a time; loading takes long
        self._lock = threading.Lock()  # of what follows; never held for long
        self._serving: Loaded[T] | None = None
        self._loaded: dict[int, Loaded[T]] = {}  # what serves, and what is still in use
        self._states: dict[int, VersionState] = {}
        self._failed: dict[int, _Listing] = {}
        if not find_versions(self.base_path):
            self._refuse()

    @property
    def states(self) -> list[VersionState]:
        """Of each version that was tried and is still there, newest first."""
        with self._lock:
            return [self._states[version] for version in sorted(self._states, reverse=True)]

    @contextlib.contextmanager
    def get(self, version: int | None = None, label: str | None = None) -> Iterator[Loaded[T]]:
        """The version that serves; it stays loaded until the block ends.

        Args:
          version: the only one that will do.
          label: refused, as no version has one.

        Raises:
          Refusal: if that version does not serve.
        """
        if label is not None:
            raise Refusal("INVALID_ARGUMENT", f"unrecognized version label {label!r}; give none")
        with self._lock:
            loaded = self._serving
            if loaded is None:
                raise Refusal("UNAVAILABLE", "no version of the model is loaded")
            if version not in (None, loaded.version):
                line = f"version {version} is not served; {loaded.version} is, give it or none"
                raise Refusal("NOT_FOUND", line)
            loaded.users += 1
        try:
            yield loaded
        finally:
            with self._lock:
                loaded.users -= 1
                self._let_go(loaded)

    def poll(self) -> None:
        """Looks at the folder once; a newer version that loads and passes the check is served.

        A version that fails is named in ``states`` and tried again when what its folder holds has
        changed: it may have been copied in part. Meanwhile the version before it serves.
        """
        with self._polling:
            found = find_versions(self.base_path)
            with self._lock:
                self._forget_all_but(found)
            for version in sorted(found, reverse=True):
                if self._serving and self._serving.version == version:
                    return
                listing = _listing(found[version])  # before loading, which may outlast a copy
                if self._failed.get(version) == listing:
                    continue
                if self._try(version, found[version]):
                    return
                self._failed[version] = listing

    def _try(self, version: int, folder: pathlib.Path) -> bool:
        """Serves the version if it loads and passes the check."""
        with self._lock:
            loaded = self._loaded.get(version)  # served before, and still in use
            if loaded is None:
                self._states[version] = VersionState(version, "LOADING")
        try:
            if loaded is None:
                loaded = Loaded(version, self._load(folder))
                self._check(loaded.model)
        except Exception as error:  # of any kind: what serves must go on
            code = "INVALID_ARGUMENT" if isinstance(error, UserError) else "INTERNAL"
            line = _first_line(error)
            self._report(f"{folder}: version {version} is not served: {line}")
            with self._lock:
                line = _without_paths(line, version, folder)
                self._states[version] = VersionState(version, "END", code, line)
            return False
        with self._lock:
            old, self._serving = self._serving, loaded
            self._loaded[version] = loaded
            self._failed.pop(version, None)
            self._states[version] = VersionState(version, "AVAILABLE")
            if old is not None:
                self._states[old.version] = VersionState(old.version, "UNLOADING")
                self._let_go(old)
        self._report(f"{folder}: version {version} is served")
        return True

    def _let_go(self, loaded: Loaded[T]) -> None:
        """Drops what neither serves nor is in use; the lock is held."""
        if loaded is not self._serving and not loaded.users:
            del self._loaded[loaded.version]
            self._states[loaded.version] = VersionState(loaded.version, "END")

    def _forget_all_but(self, found: dict[int, pathlib.Path]) -> None:
        """Forgets versions whose folders are gone, and which are not loaded; the lock is held."""
        for version in self._states.keys() - found.keys() - self._loaded.keys():
            del self._states[version]
            self._failed.pop(version, None)

    def _refuse(self) -> NoReturn:
        """Says why there is no version."""
        if not self.base_path.is_dir():
            raise UserError(f"{self.base_path}: no such folder; give one that cpmn-export wrote")
        if (self.base_path / GRAPH_FILE).is_file():
            raise UserError(
                f"{self.base_path}: is one version itself; give the folder that holds it, in "
                "which its name is its number"
            )
        raise UserError(
            f"{self.base_path}: holds no version, a folder such as 1 with a {GRAPH_FILE}; write "
            f"one with cpmn-export --export_dir={self.base_path}"
        )


def find_versions(base_path: pathlib.Path) -> dict[int, pathlib.Path]:
    """Folders by version; a base path that cannot be read has none, for now."""
    try:
        names = [name for name in os.listdir(base_path) if re.fullmatch("[0-9]+", name)]
    except OSError:
        return {}
    folders = {int(name): base_path / name for name in names}
    return {
        version: folder
        for version, folder in folders.items()
        if version < 2**63 and (folder / GRAPH_FILE).is_file()  # requests hold an int64
    }


def _listing(folder: pathlib.Path) -> _Listing:
    """What a folder holds now; what vanishes meanwhile is left out."""
    listing = []
    for inside, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(inside, name)
            with contextlib.suppress(OSError):
                about = os.stat(path)
                listing.append((path, about.st_size, about.st_mtime_ns))
    return sorted(listing)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _without_paths(line: str, version: int, folder: pathlib.Path) -> str:
    """The line with the folder called by its number, and of other absolute paths the last name."""
    for path in (folder, folder.absolute(), folder.resolve()):
        line = line.replace(str(path), f"version {version}")
    return re.sub(r"(?<![\w./])/(?:[^/\s'\":;,()]+/)+", "", line)[:300]

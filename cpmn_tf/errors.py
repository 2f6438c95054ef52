"""The error that a user can fix, and what parsers do at each problem that they meet.

A parser that can read on calls ``problem(kind, message, video)`` at each defect and leaves out what
is broken. By default that is :func:`raise_first`; validation passes a function that collects.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Protocol

SHOWN = 5  # examples in a listing


class UserError(ValueError):
    """Something outside the program is wrong: a file, an argument, a record.

    Its message is one line that names the file, the video where there is one, and the fix.
    Arguments are named between backquotes, which commands print as their flags.
    Commands print the message without a traceback and exit with code 1.

    >>> raise UserError("labels.json: is empty; write the videos' labels into it")
    Traceback (most recent call last):
    cpmn_tf.errors.UserError: labels.json: is empty; write the videos' labels into it
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))  # of what names in files may hold


class Defect(UserError):
    """A :class:`UserError` of a known kind, such as ``reversed`` or ``duplicate``."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class Problem(Protocol):
    """What is called at each defect; the parser reads on if it returns."""

    def __call__(self, kind: str, message: str, video: str = "") -> None:
        """Takes a defect's kind, its one-line message, and its video's id where it has one."""


def raise_first(kind: str, message: str, video: str = "") -> None:
    """The :class:`Problem` that ends parsing at the first defect.

    Raises:
      Defect: always.
    """
    raise Defect(kind, message)


@contextlib.contextmanager
def reported(problem: Problem, kind: str, video: str = "") -> Iterator[None]:
    """Tells ``problem`` of the error that ends the block; ``kind`` is that of errors without."""
    try:
        yield
    except UserError as error:
        problem(getattr(error, "kind", kind), str(error), video)


def listed(names: Iterable[str]) -> str:
    """The first few names."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")

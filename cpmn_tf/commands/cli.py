"""What all commands share: flags that do not collide, one-line errors, exit codes.

A command is a module with ``define_flags(values)`` and ``run(values)``; :func:`execute` makes the
program of them, which is the module's ``main`` and the console script alike:

    main = functools.partial(cli.execute, "cpmn-evaluate", __doc__, define_flags, run)
"""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from absl import flags

from cpmn_tf.errors import UserError
from cpmn_tf.files import disk_error
from cpmn_tf.notices import load_tensorflow as load_tensorflow

# An argument as the library's errors name it: `fps`, `skip_missing=True` or `source=bsn`.
_ARGUMENT = re.compile(r"`(\w+)(?:=True|(=[^`]*))?`")


class Flags(flags.FlagValues):
    """The flags of one command, defined when it runs.

    absl's own registry is global and filled when modules are imported; two commands could then not
    be imported together.
    """

    def string(self, name: str, help: str, *, default: str | None = None) -> None:
        """A text."""
        flags.DEFINE_string(name, default, help, flag_values=self)

    def integer(
        self, name: str, help: str, *, default: int | None = None, least: int | None = None
    ) -> None:
        """A whole number, ``least`` or more."""
        flags.DEFINE_integer(name, default, help, lower_bound=least, flag_values=self)

    def number(self, name: str, help: str) -> None:
        """A number with or without decimals."""
        flags.DEFINE_float(name, None, help, flag_values=self)

    def boolean(self, name: str, help: str) -> None:
        """A switch that is off."""
        flags.DEFINE_bool(name, False, help, flag_values=self)

    def choice(
        self, name: str, choices: Iterable[str], help: str, *, default: str | None = None
    ) -> None:
        """One of several words."""
        flags.DEFINE_enum(name, default, list(choices), help, flag_values=self)

    def repeated(self, name: str, help: str) -> None:
        """A list of texts, each given by the flag once more."""
        flags.DEFINE_multi_string(name, [], help, flag_values=self)

    def separated(self, name: str, help: str) -> None:
        """A list of texts, separated by commas."""
        flags.DEFINE_list(name, [], help, flag_values=self)


Action = Callable[[Flags], None]


def execute(
    program: str,
    description: str | None,
    define: Action,
    run: Action,
    argv: Sequence[str] | None = None,
) -> int:
    """Parses ``argv`` (without the program's name) and runs a command.

    Returns:
      The exit code: 0 on success, 1 for an error in data or files, 2 for a wrong flag, 130 after
      Ctrl-C, 141 if nobody reads its output any more. Errors are one line on stderr. Anything else
      is a bug and keeps its traceback.
    """
    values = Flags()
    values.boolean("help", "Show this help.")
    values.string("flagfile", "Read flags from this file, one a line.", default="")
    define(values)
    arguments = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        if {"--help", "-help", "-h", "--helpfull"} & set(arguments):  # whatever else is given
            print(_help(program, description, values))
        else:
            try:
                rest = values([program, *arguments])[1:]
            except UnicodeDecodeError as error:
                given = " ".join(item for item in arguments if "flagfile" in item)
                raise flags.Error(f"{given}: is not UTF-8 text; save it as UTF-8") from error
            except RecursionError as error:  # absl looks for names like it
                raise flags.Error("a flag of a thousand letters is unknown; remove it") from error
            if rest:
                raise flags.Error(f"{rest[0]!r} is not a flag; write --name=value")
            run(values)
        sys.stdout.flush()
        return 0
    except flags.Error as error:
        code, line = 2, f"{error} (see {program} --help)"
    except UserError as error:
        code, line = 1, f"error: {as_flags(str(error), values)}"
    except Stopped as stop:
        return 128 + stop.signal
    except BrokenPipeError:  # of `| head`
        with contextlib.suppress(OSError):  # what is left to print must not fail at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        code, line = 128 + signal.SIGINT, "interrupted"
    except Exception as error:
        refused = disk_error(error)
        if refused is None:
            raise
        code, line = 1, f"error: {refused}"
    print(f"{program}: {' '.join(line.split())}", file=sys.stderr)
    return code


def as_flags(text: str, values: Flags) -> str:
    """The text of a library's error with the arguments that it names as the command's flags."""

    def flag(found: re.Match) -> str:
        return f"--{found[1]}{found[2] or ''}" if found[1] in values else found[0]

    return _ARGUMENT.sub(flag, text)


@contextlib.contextmanager
def renamed(flags: Mapping[str, str]) -> Iterator[None]:
    """Names arguments in the block's errors as their flags, which are called otherwise."""
    try:
        yield
    except UserError as error:
        text = str(error)
        for argument, flag in flags.items():
            text = re.sub(rf"`{argument}\b", f"`{flag}", text)
        raise UserError(text) from error


class Stopped(Exception):
    """A command ended early because signal number ``signal`` asked for it."""

    def __init__(self, signal: int):
        super().__init__(signal)
        self.signal = signal


def require(values: flags.FlagValues, *names: str) -> None:
    """Asks for flags that a command needs; `execute` prints the error.

    Raises:
      absl.flags.Error: naming the first that was not given, or is empty.
    """
    for name in names:
        if not values[name].value:
            raise flags.ValidationError(f"--{name} must be given")


def _help(program: str, description: str | None, values: Flags) -> str:
    own = {name for name in values if name not in ("help", "flagfile")}
    lines = [f"{program}: {(description or '').strip()}", "", "flags:"]
    for name in [*sorted(own), "flagfile", "help"]:
        flag = values[name]
        silent = flag.default in (None, "", []) or flag.default is False
        shown = "" if silent else f" (default: {flag.default})"
        # absl's own remark on flags that repeat says it once more, on two lines.
        text = flag.help.partition(";\n    repeat this option")[0]
        lines += [f"  --{name}{shown}", f"      {text}"]
    return "\n".join(lines)

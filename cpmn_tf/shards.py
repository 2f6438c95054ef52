"""Work that many processes share: which videos one of them takes, and the parts that it writes.

Part K of N of what one process writes to ``OUTPUT`` is ``OUTPUT-parts/0000K-of-0000N``, a folder or
a file, and is there whole or not at all. Its settings say what it was made with.
"""

import os
import pathlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from cpmn_tf.errors import UserError, listed

Item = TypeVar("Item")
MAX_SHARDS = 1000  # the parts of a data set are open together while they are joined
_PART = re.compile(r"(\d{5})-of-(\d{5})")


def parse_shard(shard: str) -> tuple[int, int]:
    """K and N of ``K/N``.

    Raises:
      UserError: if it is not that, or not in 1 ≤ K ≤ N ≤ ``MAX_SHARDS``.
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard)
    number, total = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= total <= MAX_SHARDS:
        raise UserError(
            f"`shard={shard}` is not K/N with 1 ≤ K ≤ N ≤ {MAX_SHARDS}; write it as 3/64"
        )
    return number, total


def share(items: Sequence[Item], shard: str) -> Sequence[Item]:
    """Every N-th item from the K-th on; a share that would be empty is refused.

    Raises:
      UserError: if ``shard`` is not K/N, or K is more than there are items.
    """
    number, total = parse_shard(shard)
    if number > len(items):
        raise UserError(f"`shard={shard}`: there are {len(items)} videos; make fewer parts")
    return items[number - 1 :: total]


def parts_folder(output: str | os.PathLike) -> pathlib.Path:
    """The folder of the parts of what will be at ``output``."""
    path = pathlib.Path(output).absolute()
    return path.with_name(f"{path.name}-parts")


def part_path(output: str | os.PathLike, shard: str) -> pathlib.Path:
    """Where part ``shard`` is.

    Raises:
      UserError: if ``shard`` is not K/N.
    """
    number, total = parse_shard(shard)
    return parts_folder(output) / f"{number:05d}-of-{total:05d}"


def shard_of(path: pathlib.Path) -> str:
    """The K/N of a part by its path."""
    return "/".join(str(int(digits)) for digits in path.name.split("-of-"))


def all_parts(output: str | os.PathLike) -> list[pathlib.Path]:
    """All parts of what will be at ``output``, in their order.

    Raises:
      UserError: if one is missing, or there are parts of several N.
    """
    folder = parts_folder(output)
    found = sorted(path.name for path in folder.glob("*") if _PART.fullmatch(path.name))
    if not found:
        raise UserError(f"{folder}: there are no parts; make them with `shard=1/N` to `shard=N/N`")
    totals = sorted({int(name[-5:]) for name in found})
    if len(totals) > 1:
        several = " and of ".join(map(str, totals))
        raise UserError(f"{folder}: there are parts of {several}; remove those of one division")
    (total,) = totals
    shards = [f"{number}/{total}" for number in range(1, total + 1)]
    paths = [part_path(output, shard) for shard in shards]
    missing = [shard for shard, path in zip(shards, paths, strict=True) if not path.exists()]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {total} parts are missing: {listed(missing)}; make each "
            f"with the same flags and `shard={missing[0]}`"
        )
    return paths


def check_part(
    path: pathlib.Path,
    theirs: Mapping[str, Any],
    ours: Mapping[str, Any],
    digests: Mapping[str, str],
) -> None:
    """Checks that a part was made with the settings that are given now.

    Args:
      path: of the part.
      theirs: its settings.
      ours: those of now.
      digests: what a setting that is a digest stands for, by its name.

    Raises:
      UserError: naming the part, the first setting that differs, and what makes the part anew.
    """
    for name in sorted({*ours, *theirs}):
        if theirs.get(name) != ours.get(name):
            what = f"{name}={theirs.get(name)!r}, not {ours.get(name)!r}"
            raise UserError(
                f"{path}: part {shard_of(path)} was made with {digests.get(name, what)}; "
                f"{made_anew(path)}"
            )


def made_anew(path: pathlib.Path) -> str:
    """What to do about a part that cannot be used."""
    return f"make it anew with `shard={shard_of(path)}` and `overwrite=True`"


def kept_part(path: pathlib.Path, load: Callable[[], Item], overwrite: bool) -> Item | None:
    """What a part that is there already holds; None if it is to be made.

    Args:
      path: of the part.
      load: reads and checks it.
      overwrite: whether one that ``load`` refuses is removed.

    Raises:
      UserError: that of ``load``.
    """
    if not path.exists():
        return None
    try:
        return load()
    except UserError:
        if not overwrite:
            raise
        remove_part(path)
        return None


def remove_part(path: pathlib.Path) -> None:
    """Removes a part."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def remove_parts(output: str | os.PathLike) -> None:
    """Removes all parts, and what processes that died have left of theirs."""
    folder = parts_folder(output)
    for path in folder.iterdir():
        if _PART.match(path.name.removeprefix(".")):
            remove_part(path)
    if not os.listdir(folder):
        folder.rmdir()

"""Work that many processes share: the videos that one of them takes."""

import re
from collections.abc import Sequence
from typing import TypeVar

from cpmn_tf.errors import UserError

Item = TypeVar("Item")
MAX_SHARDS = 1000  # the parts of a data set are open together while they are joined


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

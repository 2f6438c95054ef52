"""Which videos each of many processes takes."""

import pytest

from cpmn_tf.errors import UserError
from cpmn_tf.shards import parse_shard, share


def test_shares_take_turns():
    assert share("abcde", "1/2") == "ace" and share("abcde", "2/2") == "bd"
    assert share("abcde", "5/5") == "e"
    with pytest.raises(UserError, match="`shard=6/6`: there are 5 videos; make fewer parts"):
        share("abcde", "6/6")


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/1001", "a/b", "-1/2", "1/2\n"])
def test_shards_that_are_none(shard):
    with pytest.raises(UserError, match="is not K/N with 1 ≤ K ≤ N ≤ 1000; write it as 3/64"):
        parse_shard(shard)

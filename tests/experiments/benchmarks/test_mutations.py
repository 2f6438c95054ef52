"""Mutations are drawn from a seed alone, and change what they should."""

import pytest

from experiments.benchmarks import mutations


def test_fields_of_a_message_are_taken_apart_and_joined():
    # 1: 150, the encoding's own example; 2: a message of one field; 3: four bytes.
    data = b"\x08\x96\x01" + b"\x12\x03\x08\x96\x01" + b"\x1d\x00\x00\x00\x00"
    parts = [(8, b"\x96\x01"), (18, b"\x08\x96\x01"), (29, bytes(4))]
    assert mutations.fields(data) == parts and mutations.written(parts) == data
    with pytest.raises(ValueError, match="no message"):
        mutations.fields(data[:-1])

"""What the fuzzer sends is drawn from its seed alone, sound and broken; a finding would show."""

import json
import random

import numpy as np
import pytest

pytest.importorskip("tensorflow_serving", reason="the extra [serving] is not installed")

from google.protobuf.message import DecodeError
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from cpmn_tf.serving import page
from cpmn_tf.serving.protocol import Limits, Refusal
from experiments.benchmarks import fuzz_serving as fuzz


@pytest.mark.parametrize("draw", [fuzz.message, fuzz.rest_request, fuzz.upload])
def test_a_seed_is_a_request(draw):
    ours, again = ([draw(random.Random(seed)) for seed in range(50)] for _ in range(2))
    assert ours == again and len({str(each) for each in ours}) > 45


def share(outcomes: list[bool]) -> float:
    return sum(outcomes) / len(outcomes)


def test_messages_are_sound_and_broken():
    def parses(data: bytes) -> bool:
        try:
            PredictRequest.FromString(data)
        except DecodeError:
            return False
        return True

    drawn = [fuzz.message(random.Random(seed)) for seed in range(300)]
    parsed = share([parses(data) for method, data in drawn if method == "Predict"])
    assert 0.5 < parsed < 0.98
    assert {method for method, _ in drawn} == set(fuzz.SERVICES)


def test_bodies_are_json_and_not():
    def parses(body: bytes) -> bool:
        try:
            json.loads(body)
        except (ValueError, RecursionError):
            return False
        return True

    assert 0.3 < share([parses(fuzz.json_body(random.Random(seed))) for seed in range(200)]) < 0.95


def test_files_are_sound_and_broken():
    def is_read(body: bytes) -> bool:
        try:
            found = page.read_features(body, {"rgb": fuzz.WIDTH, "flow": fuzz.WIDTH}, Limits())
        except Refusal:
            return False
        return all(np.isfinite(values).all() for values in found.values())

    zipped = share([is_read(fuzz.npz(random.Random(seed))) for seed in range(200)])
    plain = share(
        [is_read(fuzz.npy(random.Random(seed), width=2 * fuzz.WIDTH)) for seed in range(200)]
    )
    assert 0.1 < zipped < 0.7 and 0.1 < plain < 0.7


def test_what_an_error_must_not_tell():
    assert fuzz.told(("400", 'File "x.py"'), b"") == 'File "'
    assert fuzz.told(("400", "two\nlines"), b"two\nlines") == "\n"
    assert fuzz.told(("404", "no '/tmp/x'"), b"") == "/tmp/x'"
    assert fuzz.told(("404", "no '/tmp/x'"), b"GET '/tmp%2fx' HTTP/1.1") == ""
    assert fuzz.told(("404", "no '/v1/models/x'; see docs/serving.md"), b"") == ""

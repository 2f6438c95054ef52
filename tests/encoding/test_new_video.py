"""One new video: what is found in it is what is found in its records."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

from cpmn_tf import load_model, localize
from cpmn_tf.encoding.encode import EncodingSettings
from cpmn_tf.encoding.new_video import (
    described_encoder,
    described_settings,
    encode_one,
    frames_of,
    localize_video,
)
from cpmn_tf.errors import UserError

NAME = "clip 1"  # of the test split


@pytest.fixture(scope="module")
def model(of_videos):
    return load_model(of_videos.model)


@pytest.fixture(scope="module")
def known(model) -> dict:
    return dict(model.manifest.encoder)


def assert_found_as_in_records(found, model, records):
    """The same labels, and times and scores but for rounding."""
    ours, theirs = (dict(part.by_video())[NAME] for part in (found, localize(model, records)))
    assert len(ours) > 2 and [row[0] for row in ours] == [row[0] for row in theirs]
    numbers = [np.array([row[1:] for row in part]) for part in (ours, theirs)]
    np.testing.assert_allclose(*numbers, rtol=1e-4, atol=1e-5)


def test_it_equals_localizing_in_records(of_videos, model):
    found = localize_video(model, of_videos.videos / f"{NAME}.mkv", encoder=of_videos.encoder)
    assert found.videos == (NAME,) and found.classes == ("Dive", "Jump")
    assert_found_as_in_records(found, model, of_videos.records)


def test_features_of_one_video_are_those_of_the_folder(of_videos, known):
    encoder = described_encoder(known, of_videos.encoder, None, streams={"rgb": 6, "flow": 6})
    encoded = encode_one(of_videos.videos / f"{NAME}.mkv", encoder, described_settings(known))
    assert (encoded.id, encoded.frames, encoded.duration) == (NAME, 60, 6.0)
    for stream in ("rgb", "flow"):
        stored = np.load(of_videos.encoded / "features" / stream / f"{NAME}.npy")
        np.testing.assert_allclose(encoded.features[stream], stored, rtol=1e-5, atol=1e-5)


def test_one_stream_needs_its_network_only(of_videos):
    model = load_model(of_videos.model, streams=["flow"])
    path = of_videos.encoder.replace("{stream}", "flow")
    found = localize_video(model, of_videos.videos / f"{NAME}.mkv", encoder=path)
    assert_found_as_in_records(found, model, of_videos.records)


def test_settings_are_the_descriptions(known):
    assert described_settings(known) == EncodingSettings(unit_frames=2)
    other = {**known, "fps": 12.5, "crops": 10, "flow": {**known["flow"], "method": "tvl1"}}
    expected = EncodingSettings(unit_frames=2, fps=12.5, crops=10, flow="tvl1")
    assert described_settings(other) == expected
    assert described_settings({**known, "flow": None}).unit_frames == 2


def test_another_encoder_is_refused_by_field(of_videos, model, encoder_writer, tmp_path):
    other = encoder_writer(tmp_path / "networks", seed=1)
    with pytest.raises(UserError) as error:
        localize_video(model, of_videos.videos / f"{NAME}.mkv", encoder=other)
    text = str(error.value)
    digest = model.manifest.encoder["streams"]["flow"]["weights"]
    start = f"`encoder`: the model's features were made with flow.weights={digest!r}, not 'sha256:"
    assert text.startswith(start) and text.endswith("; give the encoder that made them")


def test_files_must_be_named(of_videos, model):
    with pytest.raises(UserError) as error:
        localize_video(model, of_videos.videos / f"{NAME}.mkv")
    digest = model.manifest.encoder["streams"]["flow"]["weights"]
    assert str(error.value) == (
        f"the model's features were made by the files of 'flow.keras' ({digest[:19]}…); give "
        "`encoder` and, unless it is a file itself, `weights`"
    )


def test_a_model_that_says_nothing_is_refused(of_videos, drawn_model_dir):
    with pytest.raises(UserError, match="does not say how its features were made; use `encode`"):
        localize_video(load_model(drawn_model_dir), of_videos.videos / f"{NAME}.mkv")


def test_a_stream_that_no_encoder_made(known):
    with pytest.raises(UserError, match="stream 'audio': no encoder of videos made it; localize"):
        described_encoder(known, None, None, streams={"rgb": 6, "audio": 4})


@pytest.fixture
def mobile(known) -> dict:
    """The description of an encoder by name, with weights drawn by a seed."""
    from cpmn_tf.encoding.encoders import open_encoder

    opened = open_encoder("MobileNetV2", weights="random", seed=7, streams=["rgb"])
    streams = {name: net.describe() for name, net in opened.streams.items()}
    return {**known, "streams": streams, "flow": None}


@pytest.mark.parametrize(
    "name, weights",
    [(None, None), ("MobileNetV2", None), (None, "random"), ("MobileNetV2", "random")],
)
def test_an_encoder_by_name_is_found_with_its_seed(mobile, name, weights):
    opened = described_encoder(mobile, name, weights, streams={"rgb": 1280})
    assert opened.streams["rgb"].describe()["weights"] == "random:7"


def test_a_file_instead_of_an_encoder_by_name_is_refused_by_field(mobile, of_videos):
    path = of_videos.encoder.replace("{stream}", "rgb")
    with pytest.raises(UserError, match=r"rgb\.name='MobileNetV2', not 'rgb\.keras'"):
        described_encoder(mobile, path, None, streams={"rgb": 1280})


@pytest.mark.parametrize("count", [1, 3, 9])
def test_frames_are_from_the_middles_of_equal_parts(video_writer, mean_color, tmp_path, count):
    """Frame k is of brightness 10·k, so that the picture tells which it is."""
    images = [np.full((64, 96, 3), 10 * k, np.uint8) for k in range(24)]
    path = video_writer(tmp_path / "clip.mkv", images)
    encoder = dataclasses.make_dataclass("Opened", ["streams"])({"rgb": mean_color()})
    encoded = encode_one(path, encoder, EncodingSettings(unit_frames=5))
    found = frames_of(path, encoded, count, short=32)
    assert [frame.shape for frame in found] == [(32, 48, 3)] * count
    middles = [int(24 * (2 * part + 1) / (2 * count)) for part in range(count)]
    np.testing.assert_allclose([frame.mean() / 10 for frame in found], middles, atol=0.1)


def test_more_frames_than_there_are_repeat(video_writer, mean_color, tmp_path):
    images = [np.full((40, 60, 3), 60 * k, np.uint8) for k in range(3)]
    path = video_writer(tmp_path / "clip.mkv", images)
    encoder = dataclasses.make_dataclass("Opened", ["streams"])({"rgb": mean_color()})
    encoded = encode_one(path, encoder, EncodingSettings(unit_frames=3))
    found = [round(frame.mean() / 60) for frame in frames_of(path, encoded, 6)]
    assert found == [0, 0, 1, 1, 2, 2]


def test_a_folder_or_a_list_is_no_video(of_videos, model, tmp_path):
    (tmp_path / "list.txt").write_text(str(of_videos.videos / f"{NAME}.mkv"))
    for path in (of_videos.videos, tmp_path / "list.txt"):
        with pytest.raises(UserError, match="is no video file; name one") as error:
            localize_video(model, path, encoder=of_videos.encoder)
        assert str(path) in str(error.value)


def test_a_video_that_cannot_be_read_is_named(of_videos, model, tmp_path):
    (tmp_path / "clip.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"clip\.mp4: cannot be read as a video"):
        localize_video(model, tmp_path / "clip.mp4", encoder=of_videos.encoder)


def test_the_description_is_the_encoded_folders(of_videos, known):
    assert known == json.loads((of_videos.encoded / "encoder.json").read_text())

"""YouTube-8M's SequenceExamples."""

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import load_annotations
from experiments.benchmarks.mutations import framed
from tfrecords_tools.commands import build_records, validate_records
from tfrecords_tools.sources import SourceSettings
from tfrecords_tools.sources.youtube8m import Youtube8mSource


def example(key, labels, *, seconds=5, seed=0, name="id", rgb=1024, audio=128) -> bytes:
    """A record as the data set's second release has it."""
    rng = np.random.default_rng(seed)
    record = tf.train.SequenceExample()
    if key is not None:
        record.context.feature[name].bytes_list.value.append(key.encode())
    record.context.feature["labels"].int64_list.value.extend(labels)
    for stream, width in (("rgb", rgb), ("audio", audio)):
        for _ in range(seconds if width else 0):
            feature = record.feature_lists.feature_list[stream].feature.add()
            values = rng.integers(256, size=width, dtype=np.uint8)
            feature.bytes_list.value.append(values.tobytes())
    return record.SerializeToString()


def write(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "frame"
    write(folder / "train00.tfrecord", example("aaaa", [3, 0]), example("bbbb", [3], seed=1))
    write(folder / "validate00.tfrecord", example("cccc", [0], seed=2, name="video_id"))
    vocabulary = tmp_path / "vocabulary.csv"
    vocabulary.write_text("Index,TrainVideoCount,Name\n0,788288,Game\n1,5,Game\n3,1,Concert\n")
    return folder


def opened(features_dir, vocabulary=None) -> Youtube8mSource:
    return Youtube8mSource(SourceSettings(features_dir=features_dir, annotations=vocabulary))


def read(source) -> dict:
    splits = {key: video.subset for key, video in source.annotations.videos.items()}
    return {video.id: video for video in source.videos(splits)}


def test_what_is_read(data):
    source = opened(data, data.parent / "vocabulary.csv")
    assert source.annotations.classes == ("Game", "Concert")
    videos = source.annotations.videos
    assert {key: video.subset for key, video in videos.items()} == {
        "aaaa": "train",
        "bbbb": "train",
        "cccc": "validate",
    }
    assert videos["aaaa"].labels == ("Game", "Concert")
    video = read(source)["aaaa"]
    assert video.rate == 1.0 and list(video.features) == ["rgb", "audio"]
    assert video.features["rgb"].shape == (5, 1024) and video.features["audio"].shape == (5, 128)
    stored = np.random.default_rng(0).integers(256, size=1024, dtype=np.uint8)
    # q * 4/255 + 4/512 - 2: byte 0 is -1.9921875 and byte 255 is 2.0078125.
    expected = stored * (4 / 255) - 1.9921875
    np.testing.assert_allclose(video.features["rgb"][0], expected, rtol=1e-6, atol=1e-6)
    assert opened(data).annotations.classes == ("0", "3")


def test_folders_of_subsets(data, tmp_path):
    for subset in ("train", "validate"):
        target = tmp_path / "nested" / subset / f"{subset}00.tfrecord"
        target.parent.mkdir(parents=True)
        (data / f"{subset}00.tfrecord").rename(target)
    source = opened(tmp_path / "nested")
    assert set(read(source)) == {"aaaa", "bbbb", "cccc"}


def test_build(data, tmp_path):
    arguments = ["--source=youtube8m", f"--features_dir={data}"]
    assert validate_records.main(arguments) == 0
    output = tmp_path / "records"
    assert build_records.main([*arguments, f"--output_dir={output}"]) == 0
    built = load_annotations(output / "annotations.json")
    assert built.videos["cccc"].duration == 5.0 and built.videos["cccc"].labels == ("0",)


def test_defects_in_the_wild(data, tmp_path, capsys):
    write(
        data / "train01.tfrecord",
        example("aaaa", [3], seed=3),  # twice
        example("cccc", [3], seed=4),  # of the validation set
        example("../../x", [3]),
        example(None, [3]),
        example("dddd", [7]),  # not in the vocabulary
        example("eeee", [3], rgb=0, audio=0),  # video-level
        b"no SequenceExample \xff",
    )
    write(data / "train02.tfrecord", example("ffff", [3], seed=5))
    whole = (data / "train02.tfrecord").read_bytes()
    (data / "train02.tfrecord").write_bytes(whole[:-9])
    (data / "train03.tfrecord").write_bytes(b"\xff" * 7 + b"\x7f" + whole[8:])  # a huge length
    (data / "train04.tfrecord").write_bytes(whole[:99] + b"?" + whole[100:])
    arguments = ["--source=youtube8m", f"--features_dir={data}"]
    vocabulary = f"--annotations={data.parent / 'vocabulary.csv'}"
    assert validate_records.main([*arguments, vocabulary, "--json"]) == 1
    output = capsys.readouterr().out
    for text in (
        "video 'aaaa' is in 'train' already",
        "video 'cccc' is in 'train' already",
        "'../../x': this id cannot name a file",
        "record 3 has no id",
        "label 7 is not in the vocabulary",
        "video 'eeee': has neither rgb nor audio",
        "record 6 is no SequenceExample",
        "train02.tfrecord: record 0 is broken (it is longer than the file); copy",
        "train03.tfrecord: record 0 is broken (it is longer than the file); copy",
        "train04.tfrecord: a record is damaged or cut short",
    ):
        assert text in output, text
    assert build_records.main([*arguments, f"--output_dir={tmp_path / 'records'}"]) == 1
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "records").exists()


def test_videos_of_which_some_have_audio(data, tmp_path, capsys):
    """Building and validation say the same; see also the conftest's `what_is_refused_is_found`."""
    write(data / "train01.tfrecord", example("dddd", [3], seed=3, audio=0))
    arguments = ["--source=youtube8m", f"--features_dir={data}"]
    line = "video 'dddd': has rgb, 'aaaa' rgb and audio; give every video the same streams"
    assert validate_records.main(arguments) == 1
    assert line in capsys.readouterr().out
    assert build_records.main([*arguments, f"--output_dir={tmp_path / 'records'}"]) == 1
    assert line in capsys.readouterr().err


def test_a_record_longer_than_its_file(data):
    with (data / "train00.tfrecord").open("ab") as file:
        file.write(framed(example("dddd", [3]), 2**40))
    with pytest.raises(UserError, match=r"train00.tfrecord: record 2 is broken \(it is longer"):
        opened(data)


def test_records_without_a_video(data, tmp_path, capsys):
    for path in data.iterdir():
        write(path)
    arguments = ["--source=youtube8m", f"--features_dir={data}"]
    assert build_records.main([*arguments, f"--output_dir={tmp_path / 'records'}"]) == 1
    assert "the source has no video; check" in capsys.readouterr().err


def test_what_is_no_records_file(data):
    (data / "._train00.tfrecord").write_bytes(b"\0\5\x16\7")
    assert len(read(opened(data))) == 3


def test_flags(data, tmp_path, capsys):
    arguments = ["--source=youtube8m", f"--features_dir={data}", f"--output_dir={tmp_path / 'x'}"]
    assert build_records.main([*arguments, "--unit_frames=1"]) == 1
    assert "does not go with --source=youtube8m" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"holds no train\*.tfrecord"):
        opened(tmp_path)
    (tmp_path / "v.csv").write_text("Name\nGame\n")
    with pytest.raises(UserError, match="has no column 'Index'"):
        opened(data, tmp_path / "v.csv")
    (tmp_path / "v.csv").write_text(f"Index,Name\n{'9' * 5000},Game\n")
    with pytest.raises(UserError, match=r"line 2: '9+ is not a class's number"):
        opened(data, tmp_path / "v.csv")

"""The index beside the shards: it is what the records say, and a damaged one is never believed."""

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.data.index import Entry, Index, path_of
from cpmn_tf.data.manifest import Manifest
from cpmn_tf.errors import UserError


@pytest.fixture
def folder(tmp_path, dataset_writer):
    write, make = dataset_writer
    videos = make(5, lengths=(5, 9))
    videos[3]["id"] = 'naïve "clip"'
    return write(tmp_path / "records", {"training": videos}, num_shards=2)


@pytest.fixture
def manifest(folder) -> Manifest:
    return Manifest.load(folder)


def columns(index: Index) -> dict[str, list]:
    return {name: array.tolist() for name, array in dataclasses.asdict(index).items()}


def test_it_is_what_the_records_say(manifest, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tf.data, "TFRecordDataset", None)  # no record is read
        index = Index.open(manifest, "training")
    names = ["video_000", "video_002", "video_004", "video_001", 'naïve "clip"']
    assert [name.decode() for name in index.ids_as_bytes()] == names
    assert list(index.labels_of(range(5))) == [[0], [2], [1], [1], [0]]
    sizes = [shard.bytes for shard in manifest.shards("training")]
    assert [int(index.sizes[:3].sum()) + 48, int(index.sizes[3:].sum()) + 32] == sizes
    tf.io.gfile.remove(path_of(manifest, "training"))
    assert columns(Index.open(manifest, "training")) == columns(index)


def test_records_of_no_label_and_of_several():
    index = Index.of([Entry("a", 3, (), 9), Entry("é", 4, (2, 0), 8), Entry("c", 1, (), 7)])
    assert list(index.labels_of([0, 1, 2])) == [[], [2, 0], []]
    assert list(index.ids_as_bytes()) == [b"a", "é".encode(), b"c"]


UNFIT = "does not fit the manifest"


@pytest.mark.parametrize(
    "what, name, change",
    [
        ("is of other shards", "shards", lambda value: "0" * 64),
        ("is damaged (ValueError)", "units", lambda value: np.array([None])),
        ("does not hold an index's arrays", "units", lambda value: value * 1.0),
        ("does not hold an index's arrays", "more", lambda value: np.zeros(3)),
        (UNFIT, "units", lambda value: value[:-1]),
        (UNFIT, "units", lambda value: value - np.int32([100, -100, 0, 0, 0])),
        (UNFIT, "sizes", lambda value: value + np.array([1, 0, 0, 0, 0])),
        (UNFIT, "sizes", lambda value: value[:, np.newaxis]),
        (UNFIT, "labels", lambda value: value + np.int32(1)),
        (UNFIT, "ends", lambda value: value[::-1]),
        (UNFIT, "names", lambda value: value[:-1]),
    ],
)
def test_a_damaged_index_is_refused(manifest, what, name, change):
    path = path_of(manifest, "training")
    with open(path, "rb") as file:
        arrays = dict(np.load(io.BytesIO(file.read())))
    with open(path, "wb") as file:
        np.savez(file, **{**arrays, name: change(arrays.get(name))})
    with pytest.raises(UserError) as caught:
        Index.open(manifest, "training")
    assert str(caught.value).startswith(f"{path}: {what}; copy it anew, or remove it")


def test_an_index_that_is_cut_short_is_refused(manifest):
    path = path_of(manifest, "training")
    with open(path, "r+b") as file:
        file.truncate(900)
    with pytest.raises(UserError, match=r"training.index.npz: is damaged \(BadZipFile\)"):
        Index.open(manifest, "training")


@pytest.mark.parametrize("indexed", [True, False])
def test_a_video_that_is_there_twice_is_named(tmp_path, dataset_writer, indexed):
    write, make = dataset_writer
    videos = make(3, lengths=(5, 6))
    folder = write(tmp_path / "twice", {"training": [*videos, videos[1]]})
    manifest = Manifest.load(folder)
    if not indexed:
        tf.io.gfile.remove(path_of(manifest, "training"))
    with pytest.raises(UserError, match=r"video 'video_001' is in 'training' twice"):
        Index.open(manifest, "training")


def test_an_unknown_split_is_named(manifest):
    with pytest.raises(UserError, match="has no split 'none'"):
        Index.open(manifest, "none")


def test_the_file_is_the_same_bytes_whenever_it_is_written(manifest, monkeypatch):
    path = path_of(manifest, "training")
    with open(path, "rb") as file:
        before = file.read()
    index = Index.open(manifest, "training")
    monkeypatch.setattr("time.time", lambda: 2e9)
    index.save(manifest, "training")
    with open(path, "rb") as file:
        assert file.read() == before

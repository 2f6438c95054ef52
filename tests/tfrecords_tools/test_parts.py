"""Parts that many processes build become what one process writes, byte by byte."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

from cpmn_tf.errors import UserError
from cpmn_tf.shards import part_path, parts_folder
from tfrecords_tools.building import build_part, build_records
from tfrecords_tools.parts import RECORDS


def content(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def in_one(folders, **more) -> tuple[dict[str, bytes], str]:
    """The files and the summary of a build by one process, which is then moved away."""
    summary = str(build_records(**folders.options(), **more))
    files = content(folders.output)
    folders.output.rename(folders.output.with_name("one"))
    return files, summary


@pytest.mark.parametrize("total", [1, 3])
def test_the_same_files_and_summary(folders, total):
    for stream in ("rgb", "flow"):  # counted in the notes, by whatever part meets them
        for key in folders.ids:
            path = folders.path(stream, key)
            np.save(path, np.load(path)[None])
    np.save(folders.path("flow", folders.ids[1]), np.ones((1, 6, 2)))  # trimmed
    more = {"squeeze": True, "holdout": "sec.*"}
    files, summary = in_one(folders, shards=2, **more)
    for number in range(total, 0, -1):  # in any order
        built = build_part(shard=f"{number}/{total}", **folders.options(), **more)
        assert not built.kept and not folders.output.exists()
    assert str(build_records(join=True, shards=2, **folders.options(), **more)) == summary
    assert "axes of length 1 dropped: 8" in summary and "shorter stream: 1 videos" in summary
    assert content(folders.output) == files
    assert not parts_folder(folders.output).exists()


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(
            {"source": "watch"},
            marks=pytest.mark.skipif(
                importlib.util.find_spec("seglearn") is None, reason="needs the extra [watch]"
            ),
        ),
        {"source": "simulated"},
    ],
)
def test_what_is_fitted_to_data_sees_all_of_it(tmp_path, source):
    if source["source"] == "simulated":
        path = tmp_path / "timelines.json"
        video = {"subset": "training", "duration": 30.0, "fps": 25}
        video["annotations"] = [{"label": "run", "segment": [1.0, 9.0]}]
        path.write_text(json.dumps({"database": {key: video for key in "abcde"}}))
        source = {**source, "annotations": path}
    build_records(output_dir=tmp_path / "one", **source)
    for number in (1, 2):
        build_part(shard=f"{number}/2", output_dir=tmp_path / "records", **source)
    build_records(output_dir=tmp_path / "records", join=True, **source)
    assert content(tmp_path / "records") == content(tmp_path / "one")


def test_a_whole_part_is_kept(folders):
    build_part(shard="2/2", **folders.options())
    records = part_path(folders.output, "2/2") / RECORDS
    before = records.stat().st_mtime_ns
    folders.path("rgb", folders.ids[1]).unlink()  # it is read no more
    with pytest.raises(UserError, match="has no rgb"):
        build_part(shard="2/2", **folders.options())
    folders.put("rgb", folders.ids[1], np.ones((7, 4)))
    again = build_part(shard="2/2", **folders.options())
    assert again.kept and "was there already" in str(again)
    assert records.stat().st_mtime_ns == before
    records.write_bytes(records.read_bytes()[:-1])
    with pytest.raises(UserError, match="part 2/2 are not whole; make it anew with `shard=2/2`"):
        build_part(shard="2/2", **folders.options())
    assert not build_part(shard="2/2", overwrite=True, **folders.options()).kept


def test_missing_and_foreign_parts_are_named(folders):
    given = folders.options()
    with pytest.raises(UserError, match="there are no parts; make them with `shard=1/N`"):
        build_records(join=True, **given)
    build_part(shard="1/3", **given)
    with pytest.raises(UserError, match=r"2 of 3 parts are missing: 2/3, 3/3; .* `shard=2/3`"):
        build_records(join=True, **given)
    build_part(shard="2/3", **given)
    build_part(shard="3/3", **{**given, "dtype": "float32"})
    with pytest.raises(UserError) as error:
        build_records(join=True, **given)
    assert str(error.value) == (
        f"{part_path(folders.output, '3/3')}: part 3/3 was made with dtype='float32', not 'auto'; "
        "make it anew with `shard=3/3` and `overwrite=True`"
    )
    folders.database[folders.ids[0]]["duration"] = 3.4
    folders.save()
    with pytest.raises(UserError, match="part 1/3 was made with other annotations"):
        build_records(join=True, **given)
    build_part(shard="1/2", **given)
    with pytest.raises(UserError, match="there are parts of 2 and of 3; remove those"):
        build_records(join=True, **given)
    assert not folders.output.exists() and part_path(folders.output, "2/3").is_dir()


def test_float16_and_float32_are_not_mixed(folders):
    values = np.ones((9, 4))
    values[3, 1] = 1e-9
    folders.put("rgb", folders.ids[3], values)
    files, _ = in_one(folders)
    for shard in ("1/2", "2/2"):
        build_part(shard=shard, **folders.options())
    with pytest.raises(UserError) as error:
        build_records(join=True, **folders.options())
    assert str(error.value) == (
        f"{part_path(folders.output, '1/2')}: part 1/2 is in float16, but float32 is needed, since "
        f"in video {folders.ids[3]!r}, rgb, 1 values (2.8 %) that are not zero become zero in "
        "float16; build all parts with `dtype=float32` and `overwrite=True`"
    )
    narrow = {**folders.options(), "dtype": "float32"}
    for shard in ("1/2", "2/2"):
        build_part(shard=shard, overwrite=True, **narrow)
    build_records(join=True, **narrow)
    assert content(folders.output) == files


def test_widths_of_two_parts_must_agree(folders):
    folders.put("rgb", folders.ids[1], np.ones((7, 5)))
    folders.put("rgb", folders.ids[3], np.ones((9, 5)))
    with pytest.raises(UserError) as of_one:
        build_records(**folders.options())
    for shard in ("1/2", "2/2"):
        build_part(shard=shard, **folders.options())
    with pytest.raises(UserError) as of_parts:
        build_records(join=True, **folders.options())
    assert str(of_parts.value) == str(of_one.value)
    assert not folders.output.exists()


def test_more_parts_than_videos(folders):
    with pytest.raises(UserError, match="there are 4 videos; make fewer parts"):
        build_part(shard="5/5", **folders.options())

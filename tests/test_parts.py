"""Detections that many processes find in parts become those of one process."""

import json

import numpy as np
import pytest

from cpmn_tf import localize
from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import UserError
from cpmn_tf.parts import join_parts, localize_part
from cpmn_tf.serving.saved_model import load_exported
from cpmn_tf.shards import part_path
from cpmn_tf.training import load_model


@pytest.fixture(scope="module")
def model(model_dir):
    return load_model(model_dir)


@pytest.fixture(scope="module")
def split(data_set):
    return Split.open(data_set, "testing")


@pytest.mark.parametrize("total", [1, 2, 5])
def test_the_same_detections(model, split, tmp_path, total):
    output = tmp_path / "found.json"
    for number in range(total, 0, -1):  # in any order
        part = localize_part(model, split, output=output, shard=f"{number}/{total}")
        assert not part.kept and part.detections.videos == tuple(split.ids[number - 1 :: total])
    whole, joined = localize(model, split), join_parts(model, split, output=output)
    assert len(joined) and (joined.videos, joined.classes) == (whole.videos, whole.classes)
    for name in ("video", "label", "start", "end", "score"):
        assert (getattr(joined, name) == getattr(whole, name)).all()
    assert not output.exists()  # it is the caller's to write


def test_a_whole_part_is_kept(model, split, tmp_path, monkeypatch):
    given = {"output": tmp_path / "found.json", "shard": "2/2"}
    first = localize_part(model, split, **given)
    monkeypatch.setattr("cpmn_tf.parts.localize", None)  # it is called no more
    again = localize_part(model, split, **given)
    assert again.kept and "was there already and is kept in" in str(again)
    assert again.detections.videos == first.detections.videos
    assert (again.detections.score == first.detections.score).all()


def test_missing_parts_and_several_divisions(model, split, tmp_path):
    given = {"output": tmp_path / "found.json"}
    with pytest.raises(UserError, match="there are no parts; make them with `shard=1/N`"):
        join_parts(model, split, **given)
    localize_part(model, split, shard="2/3", **given)
    with pytest.raises(UserError, match=r"2 of 3 parts are missing: 1/3, 3/3; .* `shard=1/3`"):
        join_parts(model, split, **given)
    localize_part(model, split, shard="1/2", **given)
    with pytest.raises(UserError, match="there are parts of 2 and of 3; remove those"):
        join_parts(model, split, **given)


def test_parts_of_something_else_are_named(model, model_dir, exported, split, data_set, tmp_path):
    given = {"output": tmp_path / "found.json"}
    scores = {key: [0.1, 0.2, 0.9] for key in split.ids}
    localize_part(model, split, shard="1/1", class_scores=scores, **given)
    path = part_path(tmp_path / "found.json", "1/1")

    def refusal(model, split, **more) -> str:
        with pytest.raises(UserError) as joining:
            join_parts(model, split, **given, **more)
        with pytest.raises(UserError) as making:
            localize_part(model, split, shard="1/1", **given, **more)
        assert str(joining.value) == str(making.value)
        begin, end = (
            f"{path}: part 1/1 was made with ",
            "; make it anew with `shard=1/1` and `overwrite=True`",
        )
        text = str(joining.value)
        assert text.startswith(begin) and text.endswith(end)
        return text[len(begin) : -len(end)]

    assert refusal(model, split) == "other class scores"
    scores_of_one = {**scores, split.ids[3]: [0.1, 0.2, 0.8]}
    assert refusal(model, split, class_scores=scores_of_one) == "other class scores"
    others = {key: [0.1, 0.2, 0.9] for key in Split.open(data_set, "training").ids}
    more = {"class_scores": {**scores, **others}}
    assert refusal(model, split.only(split.ids[1:]), **more) == "other class scores"
    assert refusal(model, Split.open(data_set, "training"), **more) == "other class scores"
    setting = {"localization.nms_threshold": 0.5}
    text = refusal(load_model(model_dir, setting), split, **more)
    assert text == "localization.nms_threshold=0.3, not 0.5"
    one = load_model(model_dir, streams=["flow"])
    assert refusal(one, split, **more) == "streams=['rgb', 'flow'], not ['flow']"
    other = load_model(model_dir)
    other.weights[0].assign_add(np.full(other.weights[0].shape, 1e-6))
    assert refusal(other, split, **more) == "another model"
    # An export of the same model has the same weights, settings and detections.
    found = join_parts(load_exported(exported), split, **given, **more)
    assert len(found) == len(join_parts(model, split, **given, **more))

    anew = localize_part(other, split, shard="1/1", overwrite=True, **given)
    assert not anew.kept and join_parts(other, split, **given).videos == tuple(split.ids)


def test_parts_that_are_damaged_or_renamed(model, split, tmp_path):
    given = {"output": tmp_path / "found.json"}
    for shard in ("1/2", "2/2"):
        localize_part(model, split, shard=shard, **given)
    one, two = (part_path(tmp_path / "found.json", shard) for shard in ("1/2", "2/2"))
    text = one.read_text()
    one.write_text(two.read_text())
    with pytest.raises(UserError, match="part 1/2 was made with shard='2/2', not '1/2'; make it"):
        join_parts(model, split, **given)
    one.write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match="part 1/2 is damaged; make it anew with `shard=1/2` and"):
        join_parts(model, split, **given)
    assert not localize_part(model, split, shard="1/2", overwrite=True, **given).kept
    assert json.loads(one.read_text()) == json.loads(text)


def test_more_parts_than_videos(model, split, tmp_path):
    with pytest.raises(UserError, match="there are 5 videos; make fewer parts"):
        localize_part(model, split, output=tmp_path / "found.json", shard="6/6")
    assert not list(tmp_path.iterdir())

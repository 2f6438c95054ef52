"""External class scores: every format, and the errors that name what is wrong."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import load_annotations
from cpmn_tf.formats.class_scores import load_class_scores

VIDEOS, CLASSES = ("b", "a"), ("run", "jump")
# Rows a, b, extra; columns jump, other, run.
SCORES = np.array([[0.5, 0.25, 0.125], [0.0, 1.0, 0.0625], [0.2, 0.2, 0.2]], np.float32)
EXPECTED = [[0.0625, 0.0], [0.125, 0.5]]


def load(path, **changes):
    return load_class_scores(path, **{"video_ids": VIDEOS, "classes": CLASSES, **changes})


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "s.npy", SCORES)
    (tmp_path / "rows.txt").write_text("a\nb\nextra\n")
    (tmp_path / "columns.txt").write_text("jump\nother\nrun\n")
    (tmp_path / "s.csv").write_text("video,jump,run\na,0.5,0.125\nb,0,0.0625\n")
    by_class = {"a": {"jump": 0.5, "run": 0.125}, "b": {"run": "0.0625"}}
    (tmp_path / "s.json").write_text(json.dumps(by_class))
    listed = {
        video: [{"label": name, "score": score} for name, score in row.items()]
        for video, row in by_class.items()
    }
    (tmp_path / "results.json").write_text(json.dumps({"results": listed}))
    return tmp_path


def npy_flags(files):
    return {"rows": str(files / "rows.txt"), "columns": str(files / "columns.txt")}


FIELDS = st.sampled_from(["", "a", "b", "run", "jump", "video", "0.5", "1e400", "-1", "9" * 5000])
LINES = st.lists(st.lists(FIELDS | st.text(max_size=3), min_size=1, max_size=4), max_size=4)


@settings(max_examples=80, derandomize=True, deadline=None)
@given(lines=LINES, sound=st.booleans(), names=LINES)
def test_whatever_a_table_holds_is_scores_or_one_line(tmp_path_factory, lines, sound, names):
    path, columns = (tmp_path_factory.getbasetemp() / name for name in ("drawn.csv", "drawn.txt"))
    above = [["video", "run", "jump"], ["a", "0.5", "1"], ["b", "0", "0.25"]] if sound else []
    rows, titles = (
        "\n".join(mark.join(line) for line in some).encode(errors="replace")
        for mark, some in ((",", [*above, *lines]), (" ", names))
    )
    path.write_bytes(rows)
    columns.write_bytes(titles)
    for more in ({}, {"columns": str(columns)}):
        try:
            found = load(path, **more)
        except UserError as error:
            text = str(error)
            assert (str(path) in text or str(columns) in text) and len(text.splitlines()) == 1
        else:
            assert found.shape == (2, 2) and ((found >= 0) & (found <= 1)).all()


def test_names_in_another_form_of_unicode(tmp_path):
    one, other = "Plong\u00e9e", "Plonge\u0301e"
    (tmp_path / "s.csv").write_text(f"video,{other}\n{other},0.25\n", encoding="utf-8")
    np.save(tmp_path / "s.npy", [[0.25]])
    for name in ("rows", "columns"):
        (tmp_path / f"{name}.txt").write_text(other, encoding="utf-8")
    names = {name: str(tmp_path / f"{name}.txt") for name in ("rows", "columns")}
    for path, more in (("s.csv", {}), ("s.npy", names)):
        found = load_class_scores(tmp_path / path, video_ids=[one], classes=[one], **more)
        assert found.tolist() == [[0.25]]


def test_every_format_gives_the_same(files):
    for name in ("s.csv", "s.json", "results.json"):
        scores = load(files / name)
        assert scores.dtype == np.float32 and scores.tolist() == EXPECTED
    assert load(files / "s.npy", **npy_flags(files)).tolist() == EXPECTED


def test_numbered_columns_and_row_patterns(files):
    (files / "numbered.txt").write_text("3 run\n1 jump\n")
    np.save(files / "t.npy", np.asfortranarray(SCORES.astype(np.float64)))
    scores = load(
        files / "t.npy",
        video_ids=["v_02", "v_01"],
        rows="v_{:02d}",
        columns=str(files / "numbered.txt"),
    )
    assert scores.tolist() == EXPECTED


def test_columns_in_the_data_sets_order_need_no_names(files):
    np.save(files / "two.npy", np.array([[0.25, 0.5]]))
    assert load(files / "two.npy", video_ids=["1"], rows="{}").tolist() == [[0.25, 0.5]]


def test_scores_above_one_need_a_scale(files):
    np.save(files / "double.npy", np.array([[1.5, 0.5], [0.25, 1.75], [2.0, 0.0]]))
    flags = {"video_ids": ["1"], "rows": "{}"}
    with pytest.raises(UserError, match=r"reach 2, above 1.*rows sum to 2, so 0.5"):
        load(files / "double.npy", **flags)  # also though the wanted row could pass with 0.6
    with pytest.raises(UserError, match=r"times `scale=0.6`, above 1"):
        load(files / "double.npy", scale=0.6, **flags)
    assert load(files / "double.npy", scale=0.5, **flags).tolist() == [[0.75, 0.25]]
    (files / "double.csv").write_text("video,jump,run\na,1.5,0.5\nb,0,0.0625\n")
    with pytest.raises(UserError, match="above 1; give `scale"):
        load(files / "double.csv")
    np.save(files / "double.npy", np.full((3, 2), 1e308))  # no float holds the rows' sums
    with pytest.raises(UserError, match=r"reach 1e\+308, above 1; give `scale` \(what brings"):
        load(files / "double.npy", **flags)
    for wrong in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="must be a positive number"):
            load(files / "s.csv", scale=wrong)


@pytest.mark.parametrize("bad", [-0.5, float("nan"), float("inf")])
def test_negative_and_non_finite_scores_are_named(files, bad):
    scores = SCORES.copy()
    scores[1, 2] = bad
    np.save(files / "bad.npy", scores)
    with pytest.raises(UserError, match=r"video 'b', class 'run': the score"):
        load(files / "bad.npy", **npy_flags(files))
    (files / "two.txt").write_text("1 jump\n2 run\n")
    with pytest.raises(UserError, match=r"video 'b', column 3: the score"):
        load(files / "bad.npy", rows=str(files / "rows.txt"), columns=str(files / "two.txt"))
    (files / "bad.csv").write_text(f"video,jump,run\na,0,0\nb,0,{bad}\n")
    with pytest.raises(UserError, match=r"line 3: video 'b', class 'run': the score"):
        load(files / "bad.csv")
    (files / "bad.json").write_text(json.dumps({"a": {"jump": 0}, "b": {"run": bad}}))
    with pytest.raises(UserError, match=r"'b'.*'run'.*score"):
        load(files / "bad.json")


def test_unknown_and_missing_videos_and_classes_are_named(files):
    with pytest.raises(UserError, match=r"no scores of the video 'c' and 1 more"):
        load(files / "s.csv", video_ids=["a", "c", "d"], known_ids=["b"])
    with pytest.raises(UserError, match=r"video 'b' is not in the data set"):
        load(files / "s.json", video_ids=["a"])
    assert load(files / "s.json", video_ids=["a"], known_ids=["b"]).tolist() == EXPECTED[1:]
    with pytest.raises(UserError, match=r"'run' is not a class of the data set"):
        load(files / "s.csv", classes=["jump"])
    named = load(files / "s.csv", classes=["jump"], columns=str(files / "columns.txt"))
    assert named.tolist() == [[0.0], [0.5]]
    with pytest.raises(UserError, match=r"no scores of the class 'swim'"):
        load(files / "s.csv", classes=[*CLASSES, "swim"])
    with pytest.raises(UserError, match=r"columns.txt: has no scores of the class 'swim'"):
        load(files / "s.npy", classes=["swim"], **npy_flags(files))
    with pytest.raises(UserError, match=r"no scores of the video 'c'"):
        load(files / "s.npy", video_ids=["c"], **npy_flags(files))


def test_what_an_array_does_not_say_must_be_given(files):
    flags = npy_flags(files)
    with pytest.raises(UserError, match="give `rows"):
        load(files / "s.npy", columns=flags["columns"])
    with pytest.raises(UserError, match="3 columns for 2 classes"):
        load(files / "s.npy", rows=flags["rows"])
    (files / "few.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match=r"holds 2 ids, but .* has 3 rows"):
        load(files / "s.npy", rows=str(files / "few.txt"), columns=flags["columns"])
    for pattern in ("v_{:q}", "v_{", "v_{x}", "v{:.0s}"):
        with pytest.raises(UserError, match="`rows="):
            load(files / "s.npy", rows=pattern, columns=flags["columns"])
    (files / "far.txt").write_text("1 run\n7 jump\n")
    with pytest.raises(UserError, match=r"names column 7 \('jump'\)"):
        load(files / "s.npy", rows=flags["rows"], columns=str(files / "far.txt"))
    (files / "far.txt").write_text(f"{'9' * 5000} run\n1 jump\n")
    with pytest.raises(UserError, match="no scores of the class 'run'"):
        load(files / "s.npy", rows=flags["rows"], columns=str(files / "far.txt"))
    for text in ("0 run\n1 jump\n", "1 run\n1 jump\n", "run\nrun\n"):
        (files / "far.txt").write_text(text)
        with pytest.raises(UserError, match="repeats a column or class"):
            load(files / "s.npy", rows=flags["rows"], columns=str(files / "far.txt"))
    with pytest.raises(UserError, match=r"is for .npy"):
        load(files / "s.csv", rows="v_{}")


def test_arrays_are_checked_before_they_are_read(files):
    flags = npy_flags(files)
    np.save(files / "objects.npy", np.array([{}, {}, {}]), allow_pickle=True)
    with pytest.raises(UserError, match="must be numbers of shape"):
        load(files / "objects.npy", **flags)
    np.save(files / "flat.npy", np.zeros(3))
    with pytest.raises(UserError, match="must be numbers of shape"):
        load(files / "flat.npy", **flags)
    # A header that promises a petabyte must not make anybody reserve it.
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**6)}
    with open(files / "huge.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(100))
    with pytest.raises(UserError, match=r"huge.npy: is not as long as its header says"):
        load(files / "huge.npy", **flags)
    (files / "cut.npy").write_bytes((files / "s.npy").read_bytes()[:-4])
    with pytest.raises(UserError, match="not as long as its header says"):
        load(files / "cut.npy", **flags)
    (files / "text.npy").write_text("no array")
    with pytest.raises(UserError, match="is not a NumPy array file"):
        load(files / "text.npy", **flags)
    with pytest.raises(UserError, match="cannot be read"):
        load(files / "none.npy", **flags)
    with pytest.raises(UserError, match=r"read from .npy, .csv or .json"):
        load(files / "s.pkl")


def test_cuhk_lists_scores_in_the_order_of_its_classes(files):
    """As cuhk_val_simp_share.json; the classes beyond the data set's are named by the file."""
    order = ["jump", "other", "run"]
    content = {"results": {"a": [0.5, 0.25, 0.125], "b": [0, 1, "0.0625"]}, "class": order}

    def read(name="cuhk.json", **changes):
        (files / name).write_text(json.dumps(content))
        return load(files / name, **changes).tolist()

    assert read() == EXPECTED
    content["class"] = ["run", "other", "jump"]
    assert read() == [[0.0, 0.0625], [0.5, 0.125]]
    with pytest.raises(UserError, match=r'`columns=.*columns.txt` is not "class" of .*leave it'):
        read(columns=str(files / "columns.txt"))
    content["class"] = ["jump", "other", "Run"]
    with pytest.raises(UserError, match="the labels 'run' and 'Run' differ by blanks or case"):
        read()
    content["class"] = order[:2]
    with pytest.raises(UserError, match="video 'a': has 3 scores for 2 classes"):
        read()
    content["class"] = "jump"
    with pytest.raises(UserError, match='"class" is not a list of names'):
        read()
    del content["class"]  # as cuhk_test_simp_share_org.json
    with pytest.raises(UserError, match=r"'a': its scores have no classes; .* with `columns`"):
        read()
    assert read(columns=str(files / "columns.txt")) == EXPECTED
    (files / "numbered.txt").write_text("3 run\n1 jump\n")  # the second score stays unnamed
    with pytest.raises(UserError, match="'a': a score has no class"):
        read(columns=str(files / "numbered.txt"))
    with pytest.raises(UserError, match="video 'a' is 'v_a' in the data set; call it so in both"):
        read(video_ids=["v_a", "v_b"], columns=str(files / "columns.txt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not a JSON object of videos"),
        ('{"a": 1}', "'a': is not an object of scores"),
        ('{"a": [{"score": 1}]}', "'a': a score has no class"),
        (
            '{"a": [{"label": "run", "score": 1}, {"label": "run", "score": 0}]}',
            "'a', class 'run': .* twice",
        ),
        ('{"a": {"run": true}}', "is True, not a number"),
    ],
)
def test_malformed_json_is_named(files, text, message):
    (files / "bad.json").write_text(text)
    with pytest.raises(UserError, match=message):
        load(files / "bad.json")


def test_a_csv_without_video_column_or_with_a_video_twice_is_named(files):
    (files / "bad.csv").write_text("jump,run\n0,0\n")
    with pytest.raises(UserError, match="no column 'video' among jump, run"):
        load(files / "bad.csv")
    (files / "bad.csv").write_text("video,jump,run\na,0,0\na,0,0\n")
    with pytest.raises(
        UserError, match="line 3: video 'a', class 'jump': the score is there twice"
    ):
        load(files / "bad.csv")


def test_untrimmednet_scores_name_the_videos_classes(thumos14):
    test = load_annotations(thumos14 / "thumos14.json").subset("test")
    scores = load_class_scores(
        thumos14 / "untrimmednet_test_scores.npy",
        video_ids=list(test.videos),
        classes=test.classes,
        scale=0.5,
        rows="video_test_{:07d}",
        columns=str(thumos14 / "test_annotations" / "detclasslist.txt"),
    )
    assert scores.shape == (213, 20) and scores.max() <= 1
    right = [
        test.classes[best] in video.labels
        for best, video in zip(scores.argmax(axis=1), test.videos.values(), strict=True)
    ]
    assert np.mean(right) > 0.9  # a wrong row or column order gives about 1/20


def test_a_crafted_header_is_one_line(files):
    text = b"(" * 900 + b"\n"  # read as Python, whose tokenizer gives up on it
    header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    (files / "crafted.npy").write_bytes(header)
    with pytest.raises(UserError, match=r"crafted.npy: is not a NumPy array file"):
        load(files / "crafted.npy", **npy_flags(files))

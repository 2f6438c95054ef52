"""BSN's CSVs and tables, as its repository has them."""

import json

import numpy as np
import pytest

from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import load_annotations
from tfrecords_tools.commands import build_records, validate_records
from tfrecords_tools.findings import Findings, raise_errors
from tfrecords_tools.sources import SourceSettings
from tfrecords_tools.sources.bsn import BsnSource

HEADER = ",".join(f"f{column}" for column in range(400))


class Data:
    """Three videos, one of the test set; ids begin with ``v_`` and then perhaps a dash."""

    ids = ("v_---9CpRcKoU", "v_--1DO2V4K74", "v_--tFD65KaK4")

    def __init__(self, folder):
        self.features = folder / "csv_mean_100"
        self.annotations = folder / "anet_anno_action.json"
        self.info = folder / "video_info_new.csv"
        self.output = folder / "records"
        self.features.mkdir()
        rng = np.random.default_rng(0)
        self.values, self.entries, rows = {}, {}, []
        frames = ((418, 14.07, 400), (6337, 211.53, 6336), (2163, 86.425, 2160))
        subsets = ("training", "validation", "testing")
        for key, (count, seconds, covered), subset in zip(self.ids, frames, subsets, strict=True):
            self.values[key] = rng.normal(size=(100, 400)).astype(np.float32)
            self.put(key)
            items = [{"segment": [0.01, 12.6], "label": "Drinking beer"}]
            self.entries[key] = {
                "duration_second": seconds,
                "duration_frame": count,
                "feature_frame": covered,
                "annotations": [] if subset == "testing" else items,
            }
            rows.append(f"{key},{count},{seconds},30.0,29.7,{subset},{covered}")
        self.rows = rows
        self.save()

    def put(self, key):
        lines = [",".join(f"{value:.9g}" for value in row) for row in self.values[key]]
        (self.features / f"{key}.csv").write_text("\n".join([HEADER, *lines]) + "\n")

    def save(self):
        self.annotations.write_text(json.dumps(self.entries))
        header = "video,numFrame,seconds,fps,rfps,subset,featureFrame"
        self.info.write_text("\n".join([header, *self.rows]) + "\n")

    def open(self, problem=raise_errors, **more) -> BsnSource:
        settings = SourceSettings(
            features_dir=self.features, annotations=self.annotations, video_info=self.info, **more
        )
        return BsnSource(settings, problem)

    def flags(self) -> list[str]:
        return [
            "--source=bsn",
            f"--features_dir={self.features}",
            f"--annotations={self.annotations}",
            f"--video_info={self.info}",
        ]


@pytest.fixture
def data(tmp_path):
    return Data(tmp_path)


def test_what_is_read(data):
    source = data.open()
    videos = source.annotations.videos
    assert [videos[key].subset for key in data.ids] == ["training", "validation", "testing"]
    assert videos[data.ids[0]].duration == 14.07
    assert videos[data.ids[0]].fps == pytest.approx(418 / 14.07)
    splits = {key: video.subset for key, video in videos.items()}
    for video in source.videos(splits):
        entry = data.entries[video.id]
        # 100 units last feature_frame / duration_frame of the video: 400/418 of 14.07 s.
        covered = entry["feature_frame"] / entry["duration_frame"] * entry["duration_second"]
        assert video.rate == pytest.approx(100 / covered)
        values = data.values[video.id]
        np.testing.assert_array_equal(video.features["rgb"], values[:, :200])
        np.testing.assert_array_equal(video.features["flow"], values[:, 200:])


def test_parts_are_held_against_the_first_table_of_all(data):
    source = data.open()
    splits = {key: video.subset for key, video in source.annotations.videos.items()}
    (video,) = source.videos(splits, {data.ids[1]})
    assert video.id == data.ids[1] and sum(source.counts.values()) == 1
    path = data.features / f"{data.ids[1]}.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match="its table has 99 rows, the first video's 100"):
        list(source.videos(splits, {data.ids[1]}))


def test_build_and_validate(data, capsys):
    assert validate_records.main(data.flags()) == 0
    assert "3 videos (training 1, validation 1, testing 1), 300 units" in capsys.readouterr().out
    assert build_records.main([*data.flags(), f"--output_dir={data.output}"]) == 0
    assert "first lines of CSV files: text, names of columns: 3\n" in capsys.readouterr().out
    built = load_annotations(data.output / "annotations.json")
    assert built.classes == ("Drinking beer",) and tuple(built.videos) == data.ids


def test_one_row_of_scores_for_a_video_of_a_minute(data, capsys):
    """Its row would last the whole video, which fits the duration and so looks right."""
    data.values[data.ids[2]] = data.values[data.ids[2]][:1]
    data.put(data.ids[2])
    line = f"video {data.ids[2]!r}: its table has 1 rows, the first video's 100; rescale it"
    assert validate_records.main(data.flags()) == 1
    assert line in capsys.readouterr().out
    assert build_records.main([*data.flags(), f"--output_dir={data.output}"]) == 1
    assert line in capsys.readouterr().err


def test_defects_in_the_wild(data, capsys):
    first, second, third = data.ids
    data.values[first][3, 7] = np.nan
    data.put(first)
    text = (data.features / f"{second}.csv").read_text()
    (data.features / f"{second}.csv").write_text(text[: len(text) // 2])
    (data.features / f"{third}.csv").unlink()
    data.entries[second]["annotations"] = [{"segment": [3, 2], "label": "Drinking beer"}]
    data.entries["../../x"] = data.entries[first]
    data.entries["v_no_frames"] = {**data.entries[first], "duration_frame": 0}
    data.entries["v_no_time"] = {**data.entries[first], "feature_frame": 1e-30}
    data.entries["v_no_subset"] = data.entries[first]
    data.save()
    assert validate_records.main(data.flags()) == 1
    output = capsys.readouterr().out
    for text in (
        f"{first}.csv: holds nan as float32 (unit 3, value 7)",
        f"{second}.csv: is not a table of numbers",
        f"video {third!r} has no features",
        "ends before it starts",
        "'../../x': this id cannot name a file",
        "duration_frame is 0.0; it must be positive",
        "video 'v_no_time': what its features last is",
        "no subset of the video 'v_no_subset'",
    ):
        assert text in output, text
    assert build_records.main([*data.flags(), f"--output_dir={data.output}"]) == 1
    assert capsys.readouterr().err.count("\n") == 1 and not data.output.exists()


def test_flags_and_files(data, capsys):
    for more in ("--unit_frames=16", "--fps=30"):
        assert build_records.main([*data.flags(), more, f"--output_dir={data.output}"]) == 1
        assert "does not go with --source=bsn" in capsys.readouterr().err
    assert build_records.main([*data.flags()[:-1], f"--output_dir={data.output}"]) == 1
    assert "--video_info is missing" in capsys.readouterr().err
    data.annotations.write_text('{"database": {}}')
    with pytest.raises(UserError, match="say `source=folders`"):
        data.open()
    data.annotations.write_text(json.dumps(data.entries)[:-1] + ', "v_---9CpRcKoU": 1}')
    findings = Findings()
    data.open(problem=findings.add)
    assert {"duplicate", "annotation"} <= findings.found.keys()


def test_numbered_headers_of_pandas(data):
    """Row 0 is the first unit, whatever the columns are called; with --csv_header=no it is not."""
    key = data.ids[0]
    path = data.features / f"{key}.csv"
    path.write_text(path.read_text().replace("f", ""))
    for csv_header, units in ((None, 100), ("yes", 100), ("no", 101)):
        source = data.open(csv_header=csv_header)
        (video,) = source.videos({key: "training"})
        np.testing.assert_array_equal(video.features["rgb"][-100:], data.values[key][:, :200])
        assert len(video.features["rgb"]) == units


def test_a_key_that_was_meant_is_named(tmp_path):
    data = Data(tmp_path)
    data.entries[data.ids[0]]["annots"] = data.entries[data.ids[0]].pop("annotations")
    data.save()
    with pytest.raises(UserError, match=f"'{data.ids[0]}' has no \"annotations\", but 'annots'"):
        data.open()

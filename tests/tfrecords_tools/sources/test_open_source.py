"""Sources opened from Python: typed settings, and errors that name arguments."""

import pytest

from cpmn_tf.commands import cli
from cpmn_tf.errors import UserError
from tfrecords_tools.findings import Findings
from tfrecords_tools.source_flags import define_source_flags, source_settings
from tfrecords_tools.sources import SourceSettings, open_source


def test_a_source_opens_without_flags(folders):
    settings = SourceSettings(
        features_dir=folders.features, annotations=folders.annotations, unit_frames=5
    )
    assert list(folders.read(open_source("folders", settings))) == list(folders.ids)
    folders.database[folders.ids[0]]["annotations"][0]["segment"] = [2, 1]
    folders.save()
    with pytest.raises(UserError, match="ends before it starts"):
        open_source("folders", settings)
    findings = Findings()
    source = open_source("folders", settings, findings.add)
    assert findings.found.keys() == {"reversed"} and len(source.annotations.videos) == 4


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("folders", {}, "`features_dir` is missing; `source=folders` needs it"),
        ("wtalc", {"features_dir": "x", "annotations": "y"}, "`unit_frames` is missing"),
        ("bsn", {"features_dir": "x", "annotations": "y"}, "`video_info` is missing"),
        ("watch", {"fps": 3.0}, "`fps` does not go with `source=watch`; leave it out"),
        ("simulated", {"skip_missing": True}, "`skip_missing` does not go with"),
        ("youtube8m", {"features_dir": "x", "split_at": 4}, "`split_at` does not go with"),
        ("labels", {"seed": 1}, "is missing"),
        ("folders", {"unit_frames": 0}, "`unit_frames=0` must be a positive number"),
        ("folders", {"fps": float("nan")}, "`fps=nan` must be a positive number"),
        ("folders", {"split_at": 2.5}, "`split_at=2.5` must be a whole number"),
        ("folders", {"unit_frames": "16"}, "`unit_frames=16` must be a positive number"),
        ("watch", {"recipe": "medium"}, "`recipe=medium` is none of long, short"),
        ("simulated", {"recipe": "short"}, "`recipe` does not go with `source=simulated`"),
        ("folders", {"csv_header": "maybe"}, "`csv_header=maybe` must be yes or no"),
        ("folders", {"crops": "max"}, "`crops=max` must be mean"),
        (
            "bsn",
            {"features_dir": "x", "annotations": "y", "video_info": "z", "squeeze": True},
            "go with",
        ),
        ("simulated", {"difficulty": "hard"}, "`difficulty=hard` is none of easier, standard, h"),
        ("simulated", {"classes_per_video": "5-3"}, "`classes_per_video=5-3` is no number and no"),
        ("simulated", {"classes_per_video": "few"}, "`classes_per_video=few` is no number and no"),
        ("simulated", {"classes_per_video": "3-21"}, "from 1 to 20; write it as 1 or 3-5"),
        (
            "simulated",
            {"classes_per_video": "1", "annotations": "x"},
            "`classes_per_video` is for timelines that are drawn; leave out it or `annotations`",
        ),
        ("nothing", {}, "`source=nothing` is none of bsn, folders, "),
    ],
)
def test_each_layout_says_what_it_needs_and_takes(name, settings, message):
    with pytest.raises(UserError) as error:
        open_source(name, SourceSettings(**settings))
    assert message in str(error.value)


def test_flags_become_settings_and_arguments_flags():
    values = cli.Flags()
    define_source_flags(values)
    values(["program", "--source=wtalc", "--fps=25", "--skip_missing", "--unit_frames=16"])
    settings = SourceSettings(**source_settings(values))
    assert settings == SourceSettings(fps=25.0, skip_missing=True, unit_frames=16)
    text = "`fps` is missing; `source=wtalc` needs it, `skip_missing=True` or `other=1` `else`"
    assert cli.as_flags(text, values) == (
        "--fps is missing; --source=wtalc needs it, --skip_missing or `other=1` `else`"
    )

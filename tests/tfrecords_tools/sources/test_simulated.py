"""The simulation keeps to the statistics it is documented with, and is named as what it is."""

import itertools
import json

import numpy as np
import pytest

from cpmn_tf.data.manifest import Manifest
from cpmn_tf.errors import UserError
from cpmn_tf.formats.annotations import Annotations, Instance, Video
from tfrecords_tools.commands import build_records
from tfrecords_tools.sources import SourceSettings, open_source, simulated
from tfrecords_tools.sources.simulated import SimulatedSource, draw_timelines, make_templates


def source(annotations, **options) -> SimulatedSource:
    given = {"seed": 0, "difficulty": "standard", "timelines": "a test's timelines", **options}
    return SimulatedSource(annotations=annotations, **given)


def one_video(duration=60.0, instances=((20.0, 40.0, "b"),), fps=25.0) -> Annotations:
    instances = tuple(Instance(*item) for item in instances)
    labels = tuple(dict.fromkeys(item.label for item in instances))
    video = Video("v", "test", labels, instances, duration=duration, fps=fps)
    return Annotations({"v": video}, ("a", "b", "c"))


def features(annotations, **options) -> dict[str, np.ndarray]:
    (video,) = source(annotations, **options).videos({"v": "test"})
    return dict(video.features)


def test_drawn_timelines_have_the_published_statistics():
    drawn = [draw_timelines(np.random.default_rng([seed, 2])) for seed in range(5)]
    videos = [video for annotations in drawn for video in annotations.videos.values()]
    durations = [video.duration for video in videos]
    np.testing.assert_allclose(np.percentile(durations, [5, 50, 95]), [31, 150, 700], rtol=0.15)
    lengths = [item.end - item.start for video in videos for item in video.instances]
    np.testing.assert_allclose(np.percentile(lengths, [5, 50, 95]), [0.8, 3.0, 10.7], rtol=0.15)
    assert np.mean([len(video.labels) == 1 for video in videos]) == pytest.approx(0.85, abs=0.03)
    for annotations in drawn:
        assert len(annotations.subset("validation").videos) == 200
        assert len(annotations.subset("test").videos) == 213
        assert len(annotations.classes) == 20
    for video in videos:
        assert video.instances
        ordered = sorted(video.instances)
        assert ordered[0].start >= 0 and ordered[-1].end <= video.duration
        for one, two in itertools.pairwise(ordered):
            assert two.start >= one.end - 0.11  # apart but for rounding to tenths


@pytest.mark.parametrize(("text", "least", "most"), [("1", 1, 1), ("3-5", 3, 5)])
def test_drawn_timelines_with_a_number_of_classes(text, least, most):
    """Every video has as many, the shortest ones too."""
    opened = open_source("simulated", SourceSettings(classes_per_video=text))
    videos = opened.annotations.videos.values()
    counts = [len(set(video.labels)) for video in videos]
    assert (min(counts), max(counts)) == (least, most)
    assert np.mean(counts) == pytest.approx((least + most) / 2, abs=0.15)  # s.e. 0.04
    for video in videos:
        assert {item.label for item in video.instances} == set(video.labels)
        assert sum(item.end - item.start for item in video.instances) < 0.9 * video.duration
        assert all(item.end > item.start for item in video.instances)
    assert f"published statistics (classes per video: {text})" in opened.notes[0]


def test_units_follow_the_videos_own_frame_rate():
    (video,) = source(one_video()).videos({"v": "test"})
    assert video.rate == 5.0
    assert {name: values.shape for name, values in video.features.items()} == {
        "rgb": (300, 101),
        "flow": (300, 101),
    }
    assert features(one_video(duration=0.05, instances=()))["rgb"].shape == (1, 101)


def test_the_core_stands_out_where_the_instance_is_and_flanks_are_weaker_and_different():
    made = source(one_video())
    templates = made._templates["flow"]
    assert np.all(np.abs(np.sum(templates.core * templates.before, axis=1)) < 0.7)
    assert simulated.STANDARD["flow"].flank < simulated.STANDARD["flow"].core
    response = features(one_video())["flow"] @ templates.core[1]
    inside = response[100:200]  # 20 to 40 s at 5 units per second
    core = np.sort(inside)[-30:].mean()  # the core has at least 30 % of the instance
    assert core > 3.0 > response[:100].mean() + 1.0
    assert core - np.median(inside) < core - response[:100].mean()


def test_scenes_occur_without_the_action():
    """Background units whose class score is raised: about half of the shots show the scene."""
    annotations = one_video(duration=2000.0, instances=((10.0, 12.0, "b"),))
    scene = source(annotations)._templates["rgb"].scene[1]
    response = features(annotations)["rgb"][100:] @ scene
    assert 0.35 < np.mean(response > 1.25) < 0.65  # half of the scene's 2.5


def test_sceneless_shows_no_scene_at_all():
    """Outside instances nothing looks like the class, and the instances are as they were."""
    annotations = one_video(duration=2000.0, instances=((10.0, 12.0, "b"), (1000.0, 1020.0, "b")))
    templates = source(annotations)._templates["rgb"]
    with_scenes = features(annotations)["rgb"]
    without = features(annotations, difficulty="sceneless")["rgb"]
    assert np.mean(without[100:4900] @ templates.scene[1] > 1.25) < 0.2  # noise and backgrounds
    action = (without @ templates.core[1])[5000:5100]
    assert np.sort(action)[-30:].mean() > 3.0
    # Draws are the same: only shots that showed a scene differ.
    same = (with_scenes == without).all(axis=1)
    assert 0.3 < same.mean() < 0.6


def test_noise_is_correlated_and_of_standard_deviation_one(monkeypatch):
    calm = simulated.Strengths(core=0, flank=0, scene=0, background=0)
    monkeypatch.setattr(simulated, "STANDARD", {"rgb": calm, "flow": calm})
    values = features(one_video(duration=4000.0))["rgb"]
    values = values - values.mean(axis=0)
    assert values.std() == pytest.approx(1.0, abs=0.02)
    assert np.mean(values[1:] * values[:-1]) == pytest.approx(0.6, abs=0.02)


def test_difficulty_scales_the_action_alone():
    easy, hard = (features(one_video(), difficulty=name)["flow"] for name in ("easier", "harder"))
    changed = np.any(easy != hard, axis=1)
    assert changed[100:200].all() and not changed[:100].any() and not changed[200:].any()


def test_same_seed_same_bits_whatever_else_is_there():
    alone = features(one_video())
    more = one_video()
    more = Annotations({"u": Video("u", "test", duration=9.0), **more.videos}, more.classes)
    together = next(v for v in source(more).videos({"u": "test", "v": "test"}) if v.id == "v")
    np.testing.assert_array_equal(alone["rgb"], together.features["rgb"])
    assert not np.array_equal(alone["rgb"], features(one_video(), seed=1)["rgb"])


@pytest.mark.parametrize("classes", [1, 7, 200])
def test_any_number_of_classes(classes):
    templates = make_templates(np.random.default_rng(0), classes)
    for values in (templates.core, templates.before, templates.after, templates.scene):
        assert values.shape == (classes, max(101, classes))
        np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1.0)


def test_built_records_say_that_they_are_simulated(tmp_path, capsys):
    path = tmp_path / "timelines.json"
    entry = {"subset": "test", "duration": 9, "fps": 30}
    annotation = {"segment": [1, 3], "label": "a"}
    path.write_text(json.dumps({"database": {"v": {**entry, "annotations": [annotation]}}}))
    arguments = ["--source=simulated", f"--annotations={path}", f"--output_dir={tmp_path / 'out'}"]
    assert build_records.main(arguments) == 0
    assert "SIMULATED" in capsys.readouterr().out
    facts = Manifest.load(tmp_path / "out").source
    assert "simulated" in facts["description"] and facts["difficulty"] == "standard"


def test_errors_are_named(tmp_path, capsys):
    with pytest.raises(UserError, match="video 'v' has no duration"):
        source(one_video(duration=None))
    for frames in ({"duration": 1e30}, {"fps": 1e30}, {"duration": 3e5, "fps": 1e-30}):
        with pytest.raises(UserError, match="video 'v' would have more than 1000000 frames"):
            source(one_video(**frames))
    arguments = ["--source=simulated", f"--output_dir={tmp_path / 'out'}", "--fps=25"]
    assert build_records.main(arguments) == 1
    assert "--fps does not go with --source=simulated" in capsys.readouterr().err

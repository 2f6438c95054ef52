"""The composed recordings keep to their recipe, and nothing of the test people leaks."""

import dataclasses
import hashlib
import importlib.util
import itertools
import sys

import numpy as np
import pytest

from cpmn_tf.data.manifest import Manifest
from cpmn_tf.errors import UserError
from tfrecords_tools.commands import build_records
from tfrecords_tools.reading import descriptors
from tfrecords_tools.sources import watch

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("seglearn") is None, reason="needs the extra [watch]"
)


@pytest.fixture(scope="session")
def sets():
    return watch.load_sets(watch.find_data())


@pytest.fixture(scope="session")
def source():
    return watch.WatchSource(seed=0)


def splits_of(source) -> dict[str, str]:
    return {video.id: video.subset for video in source.annotations.videos.values()}


@pytest.fixture(scope="session")
def videos(source):
    return {video.id: video for video in source.videos(splits_of(source))}


def test_sets(sets):
    assert len(sets) == 10 * 2 * 7
    assert {(values.shape[1], values.dtype.kind) for values in sets.values()} == {(6, "f")}
    assert min(map(len, sets.values())) == 947  # 18.94 seconds
    assert "seglearn" not in sys.modules  # found, not imported


def test_another_file_is_not_unpickled(tmp_path, monkeypatch):
    path = tmp_path / "watch_dataset.npy"
    path.write_bytes(watch.find_data().read_bytes() + b"\0")
    monkeypatch.setattr("pickle.load", lambda *args, **options: pytest.fail("unpickled"))
    with pytest.raises(UserError, match="SHA-256 differs"):
        watch.load_sets(path)
    with pytest.raises(UserError, match="No such file"):
        watch.load_sets(tmp_path / "none.npy")


def test_package_that_is_not_there(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'cpmn-tf\[watch\]'"):
        watch.find_data()


def test_people_and_counts(source):
    counts = {}
    for video in source.annotations.videos.values():
        person, arm, index = video.id.split("_")
        assert person.startswith("person") and arm == ("left", "right")[int(index) % 2]
        key = video.subset, int(person.removeprefix("person"))
        counts[key] = counts.get(key, 0) + 1
    assert counts == {
        **{("training", person): 16 for person in range(1, 7)},
        **{("testing", person): 10 for person in range(7, 11)},
    }
    assert source.annotations.classes == ("PEN", "ABD", "FEL", "IR", "ER")


def test_recipe(source):
    """Every recording keeps to the bounds; shares and lengths are near their distributions."""
    lengths, classes = [], []
    for video in source.annotations.videos.values():
        assert 2 <= len(video.instances) <= 6
        assert set(video.labels) == {item.label for item in video.instances}
        classes.append(len(video.labels))
        edges = [0.0]
        for item in video.instances:
            lengths.append(item.end - item.start)
            edges += [item.start, item.end]
        edges.append(video.duration)
        gaps = np.subtract(edges[1::2], edges[:-1:2])
        # Backgrounds are rounded to samples, and the last gives up to four to make whole units.
        assert gaps.min() >= 3 - 0.02 - 0.08 and gaps.max() <= 25.01
    assert set(classes) == {1, 2}
    assert 0.2 < np.mean(np.equal(classes, 2)) < 0.4  # 30 %; 136 draws deviate by 4 %
    assert min(lengths) > 1.999 and max(lengths) < 25.001  # differences of floats
    assert 6 < np.median(lengths) < 8  # 7 seconds; some 500 draws deviate by 0.25
    assert 0.45 < np.std(np.log(lengths)) < 0.65  # 0.6, less what clipping takes


def edges_of(instances, samples) -> list[int]:
    """Where pieces begin and end, in samples: gap, instance, gap, instance, ..., gap."""
    inner = [round(time * watch.FPS) for item in instances for time in (item.start, item.end)]
    return [0, *inner, len(samples)]


def pieces_of(instances, samples) -> list[np.ndarray]:
    return [samples[a:b] for a, b in itertools.pairwise(edges_of(instances, samples))]


def found_in(whole, cut) -> bool:
    """Whether the cut is a piece of the whole, sample for sample."""
    starts = np.flatnonzero((whole == cut[0]).all(axis=1))
    return any(np.array_equal(whole[start : start + len(cut)], cut) for start in starts)


@pytest.mark.parametrize("name", watch.RECIPES)
def test_recording_is_made_of_one_persons_one_arms_sets(sets, name):
    """Each instance is found in the one set it may come from."""
    recordings = watch.compose(sets, watch.RECIPES[name], 5)
    for _, key, arm, samples, instances in itertools.islice(recordings, 4):
        assert len(samples) % watch.UNIT_FRAMES == 0 and key.startswith("person01")
        pieces = pieces_of(instances, samples)
        for item, cut in zip(instances, pieces[1::2], strict=True):
            assert found_in(sets[1, arm, item.label], cut)
        if name == "long":
            for gap in pieces[::2]:
                assert any(found_in(sets[1, arm, kind], gap) for kind in watch.BACKGROUND)


# Of all samples and instances of seed 0: the recipes are frozen.
DIGESTS = {
    "long": "c3b0709e9c15612cf521d4233b12a001d977544d078a101bfa832594a752ab0a",
    "short": "0998667803bef2a9bcaf219c0865731d620e8d8246fd7e69a43586257f539188",
}


@pytest.mark.parametrize("name", watch.RECIPES)
def test_recordings_are_always_the_same(sets, name):
    digest = hashlib.sha256()
    for *_, samples, instances in watch.compose(sets, watch.RECIPES[name], 0):
        digest.update(samples.tobytes())
        digest.update(repr(instances).encode())
    assert digest.hexdigest() == DIGESTS[name]


@pytest.fixture(scope="session")
def short(sets):
    return list(watch.compose(sets, watch.RECIPES["short"], 0))


def test_short_recipe(short):
    """Every recording keeps to the bounds; the lengths are near their distribution."""
    subsets = [subset for subset, *_ in short]
    assert subsets == ["training"] * 400 + ["testing"] * 60
    people = {subset: {key[6:8] for s, key, *_ in short if s == subset} for subset in subsets}
    assert people["training"] == {f"{person:02d}" for person in range(1, 7)}
    assert people["testing"] == {f"{person:02d}" for person in range(7, 11)}
    lengths, gaps, classes = [], [], set()
    for *_, samples, instances in short:
        assert 750 <= len(samples) <= 2000  # 15 to 40 s
        labels = [item.label for item in instances]
        assert 2 <= len(set(labels)) <= 5
        assert all(1 <= labels.count(label) <= 3 for label in labels)
        classes.update(labels)
        pieces = [len(piece) / watch.FPS for piece in pieces_of(instances, samples)]
        lengths += pieces[1::2]
        gaps += pieces[::2]
    assert classes == {"PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"}
    assert (min(lengths), max(lengths)) == (1.0, 4.0)
    assert 1.9 < np.median(lengths) < 2.1  # 2 seconds; some 2,800 draws deviate by 0.02
    assert 0.34 < np.std(np.log(lengths)) < 0.4  # 0.4, less what clipping takes
    assert min(gaps) == 1.0 and 8 < max(gaps) <= 10.0


def test_gaps_of_the_short_recipe_are_two_exercises_in_turns(sets, short):
    """Each half second is found in a set, and every other one in the same set."""
    for _, key, arm, samples, instances in short[:400:80]:
        own = {kind: sets[int(key[6:8]), arm, kind] for kind in (*watch.CLASSES, *watch.BACKGROUND)}
        for gap in pieces_of(instances, samples)[::2]:
            turns = [gap[start : start + 25] for start in range(0, len(gap), 25)]
            kinds = [
                next(kind for kind, whole in own.items() if found_in(whole, turn)) for turn in turns
            ]
            assert len(set(kinds)) == 2 and kinds == [
                *itertools.islice(itertools.cycle(kinds[:2]), len(kinds))
            ]


def test_same_seed_same_recordings(source, videos):
    again = watch.WatchSource(seed=0)
    assert again.annotations == source.annotations
    wanted = {"person01_left_000": "training", "person02_right_001": "training"}
    one = {video.id: video for video in again.videos(wanted)}
    two = {video.id: video for video in source.videos(wanted)}
    assert set(one) == set(wanted)  # only what was asked for
    for key in wanted:
        np.testing.assert_array_equal(
            one[key].features["gyroscope"], two[key].features["gyroscope"]
        )
    assert watch.WatchSource(seed=1).annotations != source.annotations


def test_features(source, videos):
    assert set(videos) == set(source.annotations.videos)
    for key, video in videos.items():
        units = round(source.annotations.videos[key].duration * 10)
        assert video.rate == 10.0
        assert {name: values.shape for name, values in video.features.items()} == {
            "accelerometer": (units, 59),
            "gyroscope": (units, 59),
        }


def stacked(videos, keys) -> np.ndarray:
    return np.concatenate([videos[key].features["accelerometer"] for key in keys])


def test_standardised_with_what_trains_alone(source, videos):
    training = [key for key, split in splits_of(source).items() if split == "training"]
    units = stacked(videos, training)
    np.testing.assert_allclose(units.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(units.std(axis=0), 1, atol=1e-3)
    held = {
        key: "validation" if key.startswith(("person05", "person06")) else split
        for key, split in splits_of(source).items()
    }
    others = {video.id: video for video in source.videos(held)}
    kept = [key for key, split in held.items() if split == "training"]
    assert len(kept) == 64
    np.testing.assert_allclose(stacked(others, kept).mean(axis=0), 0, atol=1e-3)
    assert np.abs(stacked(videos, kept).mean(axis=0)).max() > 0.01  # the statistics did change


def reference(signals: np.ndarray, unit: int) -> np.ndarray:
    """The descriptor of one unit in the middle of a recording, by plain loops."""
    begin = unit * 5 - 29  # 64 samples around the unit's 5
    window = signals[begin : begin + 64]
    window = np.column_stack([window, np.sqrt((window**2).sum(axis=1))])
    statistics = [[] for _ in range(6)]
    energies = []
    for column in window.T:
        centred = column - column.mean()
        statistics[0].append(column.mean())
        statistics[1].append(column.std())
        statistics[2].append(column.min())
        statistics[3].append(column.max())
        statistics[4].append(np.mean([abs(b - a) for a, b in itertools.pairwise(column)]))
        crossings = [(a < 0) != (b < 0) for a, b in itertools.pairwise(centred)]
        statistics[5].append(np.mean(crossings))
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(64) / 63)
        power = np.abs(np.fft.fft(centred * hann)[:33]) ** 2
        edges = [1, 2, 3, 4, 6, 9, 13, 19, 33]
        energies += [np.log(power[a:b].sum() + 1e-4) for a, b in itertools.pairwise(edges)]
    correlations = [
        np.corrcoef(window[:, a], window[:, b])[0, 1] for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    return np.array([*np.concatenate(statistics), *energies, *correlations])


def test_descriptors_against_plain_loops():
    signals = np.random.default_rng(0).normal(size=(400, 3)).cumsum(axis=0)
    described = descriptors.describe(signals, unit_frames=5)
    assert described.shape == (80, 59)
    for unit in (6, 40, 72):
        np.testing.assert_allclose(described[unit], reference(signals, unit), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("samples", [5, 30, 60, 65, 70])
def test_descriptors_of_short_and_still_signals(samples):
    described = descriptors.describe(np.ones((samples, 3)), unit_frames=5)
    assert described.shape == (samples // 5, 59) and np.isfinite(described).all()


def test_mirror_is_a_reflection():
    """Reflecting commutes with rotation: a = w × r holds before and after."""
    rng = np.random.default_rng(0)
    spin, arm = rng.normal(size=(2, 3))
    flipped = descriptors.mirror(np.array([[*np.cross(spin, arm), *spin]]))[0]
    np.testing.assert_allclose(np.cross(flipped[3:], arm * [-1, 1, 1]), flipped[:3])


def test_build(tmp_path, monkeypatch, capsys):
    people = {"training": {1: 2, 2: 1}, "testing": {7: 1}}
    for name, recipe in watch.RECIPES.items():
        monkeypatch.setitem(watch.RECIPES, name, dataclasses.replace(recipe, people=people))
    output = tmp_path / "watch"
    flags = ["--source=watch", f"--output_dir={output}", "--holdout=person02_.*"]
    flags.append("--allow_empty_classes")  # of the few recordings
    assert build_records.main(flags) == 0
    manifest = Manifest.load(output)
    videos = {split: manifest.num_videos(split) for split in manifest.splits}
    assert videos == {"training": 2, "validation": 1, "testing": 1}
    assert (manifest.dtype, manifest.rate, manifest.source["seed"]) == ("float16", 10.0, 0)
    assert "composed from real recordings" in capsys.readouterr().out
    assert build_records.main([*flags, "--recipe=short", "--overwrite"]) == 0
    manifest = Manifest.load(output)
    assert (len(manifest.classes), manifest.rate, manifest.source["recipe"]) == (7, 10.0, "short")
    assert "gaps between instances mixed from two exercises" in capsys.readouterr().out
    assert build_records.main([*flags, "--fps=3", "--overwrite"]) == 1
    assert "--fps does not go with --source=watch" in capsys.readouterr().err
    everyone = ["--source=watch", f"--output_dir={tmp_path / 'b'}", "--holdout=.*"]
    assert build_records.main(everyone) == 1

"""The page of plots: what it says, and that nothing on it collides or is cut off."""

import itertools

import numpy as np
import pytest

from cpmn_tf.analysis.diagnosis import analyze
from cpmn_tf.analysis.figure import _page, save_page
from cpmn_tf.evaluation.results import Sources
from cpmn_tf.formats.annotations import Annotations, Instance, Video
from cpmn_tf.formats.detections import Detections

SOURCES = Sources("here/truth.json", "a1" * 32, "there/run.json", "b2" * 32, "testing")
TIOU = {
    "seven": np.linspace(0.1, 0.7, 7),
    "ten": np.linspace(0.5, 0.95, 10),
    "one": [0.5],
    "many": np.linspace(0.05, 0.95, 91),
}


def analyzed(names=("run", "jump"), spread=1.0, tiou=TIOU["seven"], baseline_spread=None):
    """An analysis of 30 videos with 1 to 8 instances of widely differing length: all bins fill."""
    generator = np.random.default_rng(0)
    videos, rows, others = {}, [], []
    for number in range(30):
        name, label = f"v{number}", names[number % len(names)]
        lengths = np.exp(generator.uniform(-1, 6, 1 + number % 8))
        segments = [(start, start + length) for start, length in enumerate(lengths.tolist())]
        instances = tuple(Instance(float(start), end, label) for start, end in segments)
        videos[name] = Video(name, "testing", instances=instances, duration=9876.5)
        for run, noise in ((rows, spread), (others, baseline_spread or spread)):
            for segment in segments:
                borders = np.sort(np.array(segment) + generator.normal(0, noise, 2))
                run.append((name, label, *borders.tolist(), float(generator.random())))
    baseline = Detections.from_rows((), others) if baseline_spread else None
    truth, found = Annotations(videos, tuple(names)), Detections.from_rows((), rows)
    return analyze(
        truth, found, protocol="thumos14", tiou=tiou, baseline=baseline, samples=20, seed=0
    )


def drawn(analysis):
    figure = _page(analysis, SOURCES, "old/baseline.json")
    figure.draw_without_rendering()
    return figure


def test_the_page_names_everything_that_the_numbers_depend_on():
    texts = "\n".join(text.get_text() for text in drawn(analyzed(baseline_spread=9.0)).texts)
    for part in (
        "run.json",
        "thumos14 protocol",
        "truth.json",
        "a1" * 32,
        "b2" * 32,
        "testing",
        "30 videos (0 without detections)",
        "129 instances of 2 classes",
        "95 % interval over videos",
        "baseline baseline.json",
        "difference +",
    ):
        assert part in texts


@pytest.mark.parametrize(
    ("classes", "tiou"), [(2, "seven"), (24, "ten"), (200, "one"), (2, "many")]
)
def test_labels_neither_collide_nor_leave_the_page(classes, tiou):
    names = [f"a rather long class name, number {number}" for number in range(classes)]
    figure = drawn(analyzed(names, tiou=TIOU[tiou], baseline_spread=5.0))
    page = figure.bbox
    assert len(figure.axes[3].get_xticks()) == 15
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
            for one, other in itertools.pairwise(boxes):
                assert not one.overlaps(other)
        for text in (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label):
            box = text.get_window_extent()
            assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0
            assert box.y1 <= page.y1
    titles = [axes._left_title.get_window_extent() for axes in figure.axes]
    for one, other in itertools.combinations(titles, 2):
        assert not one.overlaps(other)
    facts = min(text.get_window_extent().y0 for text in figure.texts)
    assert all(box.y1 < facts for box in titles)


def test_a_better_baseline_lies_within_the_axes():
    figure = drawn(analyzed(spread=500.0, baseline_spread=0.01))
    for axes in figure.axes:
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        for line in axes.get_lines():
            x, y = np.array(line.get_xdata(), float), np.array(line.get_ydata(), float)
            if line.get_linestyle() == "None":  # markers
                assert ((left <= x) & (x <= right)).all() and ((low <= y) & (y <= high)).all()


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_names_that_look_like_formulas_or_lack_glyphs_are_drawn(tmp_path, suffix, recwarn):
    path = tmp_path / f"page.{suffix}"
    analysis = analyzed(["r$u_{n$", "跳", r"\frac{$"])
    save_page(path, analysis, Sources("$a_{$.json", "a" * 64, "$", "b" * 64, "$t^$"))
    assert path.stat().st_size > 10_000
    assert not recwarn.list


def test_nothing_found_is_drawn():
    videos = {"a": Video("a", "t", instances=(Instance(0.0, 1.0, "run"),))}
    empty = Detections.from_rows((), [])
    analysis = analyze(Annotations(videos, ("run",)), empty, protocol="activitynet", samples=2)
    figure = drawn(analysis)
    for axes in figure.axes:
        assert all(np.isfinite([*axes.get_xlim(), *axes.get_ylim()]))

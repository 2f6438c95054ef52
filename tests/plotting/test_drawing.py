"""Pictures: what is drawn is what the model said."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf import inference, plotting
from cpmn_tf.config import preset, with_overrides
from cpmn_tf.models import CPMN
from cpmn_tf.plotting.drawing import FORMATS, MOST_PREDICTED

CLASSES = ("Dive", "Jump", "Throw", "Swim")
RATE = 4.0  # units per second
SMALL = [
    "cascade.units=24",
    "cascade.filters=8",
    "pyramid.filters=8",
    "pyramid.window=16",
    "pyramid.stride=16",
]


def make_model(*settings: str, streams: tuple[str, ...] = ("rgb", "flow")) -> CPMN:
    tf.keras.utils.set_random_seed(1)
    config = with_overrides(preset("thumos14"), [*SMALL, *settings])
    return CPMN(
        streams=dict.fromkeys(streams, 6),
        num_classes=len(CLASSES),
        config=config,
    )


def make_batch(
    *, units: int = 50, streams: tuple[str, ...] = ("rgb", "flow"), truth=((1.0, 3.0, 0),), name="v"
) -> dict:
    """One video; ``truth`` as (start, end, class), or None for labels only (class 0)."""
    rng = np.random.default_rng(units)
    run = max(1, units // 100)  # units alike, so that long videos have few proposals
    labels = np.zeros((1, len(CLASSES)), np.float32)
    labels[0, [0] if truth is None else [label for _, _, label in truth]] = 1
    batch = {
        "id": tf.constant([name]),
        "length": tf.constant([units]),
        "rate": tf.constant([RATE]),
        "duration": tf.constant([units / RATE]),
        "labels": tf.constant(labels),
        "features": {
            key: tf.repeat(tf.constant(values[:, : units // run], tf.float32), run, axis=1)
            for key, values in zip(
                streams, rng.normal(size=(len(streams), 1, units, 6)), strict=True
            )
        },
    }
    if truth is not None:
        spans = np.array(truth, np.float32).reshape(-1, 3)
        batch["segments"] = tf.constant(spans[np.newaxis, :, :2])
        batch["segment_labels"] = tf.constant(spans[np.newaxis, :, 2].astype(np.int32))
    return batch


def collect_curves(model: CPMN, **kwargs) -> plotting.RecordingCurves:
    return plotting.collect_curves(
        model, make_batch(streams=tuple(model.streams), **kwargs), CLASSES
    )


def panels(drawn, label: str) -> list:
    """Axes whose label starts with ``label``, from top to bottom."""
    return [axes for axes in drawn.axes if axes.get_label().startswith(label)]


def line(axes, label: str) -> np.ndarray:
    """A curve's values, [T + 1]: the last one twice."""
    (found,) = [item for item in axes.lines if item.get_label() == label]
    return found.get_ydata()


def texts(drawn) -> str:
    everything = [*drawn.texts, *(text for axes in drawn.axes for text in axes.texts)]
    return "\n".join(text.get_text() for text in everything)


def bars(axes, label: str) -> np.ndarray:
    """[N, 3] start, end and height of the bars of a kind."""
    found = [item for item in axes.collections if item.get_label() == label]
    corners = [path.vertices for item in found for path in item.get_paths()]
    return np.array([(c[:, 0].min(), c[:, 0].max(), c[1, 1]) for c in corners]).reshape(-1, 3)


@pytest.fixture(scope="module")
def model() -> CPMN:
    return make_model()


@pytest.fixture(scope="module")
def recording(model) -> plotting.RecordingCurves:
    return collect_curves(model, truth=((1.0, 3.0, 0), (5.0, 6.5, 0), (7.0, 8.0, 1), (9.0, 9.5, 2)))


def test_curves_hold_the_trace(model, recording):
    batch = make_batch()
    trace = model.trace(batch["features"], batch["length"], batch["rate"])
    found = model.detect(trace, batch["duration"])
    assert len(recording.predicted) == 2  # thumos14 takes the top 2
    for row, (_, label) in enumerate(trace.rows.numpy()):
        (item,) = [item for item in recording.predicted if item.name == CLASSES[label]]
        assert item.p_class == float(trace.p_class[row])
        for index, stream in enumerate(("rgb", "flow")):
            for name in ("original", "mining", "cascaded", "attention", "phi"):
                ours = getattr(item.curves[stream], name)
                np.testing.assert_array_equal(ours, getattr(trace, name)[row, index])
        mine = found.labels.numpy()[0] == label
        np.testing.assert_array_equal(item.detections[:, :2], found.segments.numpy()[0][mine])
        np.testing.assert_array_equal(item.detections[:, 2], found.scores.numpy()[0][mine])
    np.testing.assert_array_equal(recording.edges, np.arange(51) / 4)  # 4 units a second
    assert recording.predicted[0].p_class >= recording.predicted[1].p_class


def test_truth_is_kept_by_class_and_missed_classes_follow(recording):
    truth = {item.name: item.truth.tolist() for item in recording.classes}
    known = {"Dive": [[1, 3], [5, 6.5]], "Jump": [[7, 8]], "Throw": [[9, 9.5]], "Swim": []}
    assert truth.items() <= known.items()
    predicted = {item.name for item in recording.predicted}
    assert {item.name for item in recording.missed} == {"Dive", "Jump", "Throw"} - predicted
    assert all(not item.curves and not len(item.detections) for item in recording.missed)


def test_curves_drawn_are_the_recordings(recording):
    drawn = plotting.figure(recording)
    tcas, phi = panels(drawn, "T-CAS"), panels(drawn, "Φ")
    pairs = [(item, stream) for item in recording.predicted for stream in recording.streams]
    assert len(tcas) == len(phi) == len(panels(drawn, "attention")) == len(pairs)
    for axes, (item, stream) in zip(tcas, pairs, strict=True):
        for name in ("original", "mining", "cascaded"):
            values = getattr(item.curves[stream], name)
            np.testing.assert_array_equal(line(axes, name), [*values, values[-1]])
    for axes, (item, stream) in zip(panels(drawn, "attention"), pairs, strict=True):
        (image,) = axes.images
        np.testing.assert_array_equal(image.get_array()[0], item.curves[stream].attention)
        assert image.get_extent() == [0, recording.edges[-1], 0, 1]
    for axes, (item, stream) in zip(phi, pairs, strict=True):
        np.testing.assert_array_equal(line(axes, "phi")[:-1], item.curves[stream].phi)


def test_threshold_is_at_its_share_of_the_maximum_and_what_is_above_is_filled():
    recording = collect_curves(make_model("localization.thresholds=0.2,0.6"))
    curves = recording.predicted[0].curves["rgb"]
    axes = panels(plotting.figure(recording), "Φ")[0]
    lines = [item for item in axes.lines if item.get_label() == "threshold"]
    cuts = [item.get_ydata()[0] for item in lines]
    np.testing.assert_allclose(cuts, np.array([0.2, 0.6]) * curves.phi.max(), rtol=1e-6)
    fills = [item for item in axes.collections if item.get_label() == "proposed"]
    middles = (recording.edges[:-1] + recording.edges[1:]) / 2
    for fill, theta in zip(fills, (0.2, 0.6), strict=True):
        (outline,) = fill.get_paths()
        points = np.column_stack([middles, curves.phi * 0.99])
        np.testing.assert_array_equal(
            outline.contains_points(points), curves.phi > np.float32(theta) * curves.phi.max()
        )


def test_bars_are_the_truth_and_the_detections(recording):
    drawn = plotting.figure(recording)
    shown = [*recording.predicted, *recording.missed]
    for axes, item in zip(panels(drawn, "truth"), shown, strict=True):
        np.testing.assert_allclose(bars(axes, "truth")[:, :2], item.truth)
        assert len(bars(axes, "truth, other classes")) == 4
    for axes, item in zip(panels(drawn, "detections"), recording.predicted, strict=True):
        np.testing.assert_allclose(bars(axes, "detection"), item.detections, rtol=1e-6)
        assert axes.get_ylim()[1] >= recording.detections[:, 2].max()


def test_all_panels_share_one_axis_of_seconds(recording):
    drawn = plotting.figure(recording)
    assert {axes.get_xlim() for axes in drawn.axes} == {(0.0, 12.5)}  # 50 units / 4 per second
    labelled = [axes for axes in drawn.axes if axes.get_xlabel()]
    assert {axes.get_xlabel() for axes in labelled} == {"time (s)"}
    assert len(labelled) == len(recording.classes)
    legend = [text.get_text() for text in drawn.legends[0].texts]
    assert {"truth", "detection", "original T-CAS", "mining T-CAS", "0.2 · max Φ"} <= set(legend)


def test_missed_class_is_shown(recording):
    drawn = plotting.figure(recording)
    for item in recording.missed:
        assert f"Missed class: {item.name}" in texts(drawn)


@pytest.mark.parametrize("truth", [None, ()])
def test_unknown_truth_is_not_drawn_as_none(model, truth):
    recording = collect_curves(model, truth=truth)
    drawn = plotting.figure(recording)
    words = texts(drawn)
    if truth is None:
        assert all(item.truth is None for item in recording.classes)
        assert "labels only" in words and "no instance of this class" not in words
    else:  # a recording that is known to hold nothing
        assert "labels only" not in words and "no instance of this class" in words


def test_labels_without_any_segment_count_as_unknown(model):
    batch = make_batch(truth=None)
    batch |= {"segments": tf.zeros([1, 0, 2]), "segment_labels": tf.zeros([1, 0], tf.int32)}
    assert plotting.collect_curves(model, batch, CLASSES).classes[0].truth is None


def test_padding_of_segments_is_left_out(model):
    batch = make_batch()
    batch["segments"] = tf.pad(batch["segments"], [[0, 0], [0, 2], [0, 0]])
    batch["segment_labels"] = tf.pad(batch["segment_labels"], [[0, 0], [0, 2]], constant_values=-1)
    assert plotting.collect_curves(model, batch, CLASSES).truth.tolist() == [[1, 3]]


def test_without_attention_and_mining():
    recording = collect_curves(
        make_model("localization.attention=false", "localization.mining=false")
    )
    drawn = plotting.figure(recording)
    assert not panels(drawn, "attention") and not panels(drawn, "Φ")
    assert len(panels(drawn, "M(Cas)")) == 4  # two classes, two streams
    curves = recording.predicted[0].curves["rgb"]
    assert curves.mining is None and curves.attention is None
    np.testing.assert_array_equal(curves.phi, curves.cascaded)
    legend = [text.get_text() for text in drawn.legends[0].texts]
    assert "mining T-CAS" not in legend and "0.2 · max M(Cas)" in legend


def small_recording(name: str = "v", classes: int = 1) -> plotting.RecordingCurves:
    """One stream of eight seconds, nowhere positive, without attention and detections."""

    def silent(values: np.ndarray) -> plotting.StreamCurves:
        return plotting.StreamCurves(
            original=values, mining=None, cascaded=values, attention=None, phi=values
        )

    item = plotting.ClassCurves(
        name="Dive",
        score=0.1,
        p_class=0.1,
        labelled=False,
        truth=np.zeros((0, 2)),
        curves={"rgb": silent(np.full(8, -1.0, np.float32))},
        detections=np.zeros((0, 3)),
    )
    return plotting.RecordingCurves(
        id=name,
        duration=8.0,
        streams=("rgb",),
        edges=np.arange(9.0),
        thresholds=(0.2,),
        classes=(item,) * classes,
    )


def test_silent_curve_and_missing_detections_are_said():
    drawn = plotting.figure(small_recording())
    assert "no detections" in texts(drawn) and "nothing is proposed" in texts(drawn)
    assert not [li for li in panels(drawn, "M(Cas)")[0].lines if li.get_label() == "threshold"]


def test_simulated_features_are_called_so(model):
    recording = plotting.collect_curves(model, make_batch(), CLASSES, simulated=True)
    assert "SIMULATED" in plotting.figure(recording).texts[0].get_text()
    assert "SIMULATED" not in texts(plotting.figure(small_recording()))


def test_normalized_combination_is_drawn_on_its_own_scale():
    recording = collect_curves(make_model("cascade.combine=normalized", "cascade.units=64"))
    curves = recording.predicted[0].curves["flow"]
    np.testing.assert_allclose(
        np.maximum(curves.original, curves.mining), curves.cascaded, atol=1e-5
    )


def test_resized_grid_covers_the_recording():
    recording = collect_curves(make_model("data.resize_units=20"), units=50)
    assert len(recording.edges) == 21 and recording.edges[-1] == pytest.approx(12.5)
    assert recording.predicted[0].curves["rgb"].phi.shape == (20,)


def test_external_scores_choose_the_classes(model):
    batch, scores = make_batch(), np.array([0.1, 0.2, 0.9, 0.8])
    recording = plotting.collect_curves(model, batch, CLASSES, scores)
    assert [item.name for item in recording.predicted] == ["Throw", "Swim"]
    assert recording.predicted[0].p_class == pytest.approx(0.9)
    assert [item.name for item in recording.missed] == ["Dive"]


@pytest.mark.parametrize("streams", [("audio",), ("rgb", "flow", "audio")])
def test_any_number_of_streams(streams):
    recording = collect_curves(make_model(streams=streams))
    assert len(panels(plotting.figure(recording), "T-CAS")) == 2 * len(streams)


@pytest.mark.parametrize("units", [1, 2, 20_000])
def test_any_length_renders(model, units):
    data = plotting.render(plotting.figure(collect_curves(model, units=units)))
    assert data.startswith(b"\x89PNG")


def test_weights_that_are_not_numbers_render():
    model = make_model(streams=("rgb",))
    for variable in model.variables:
        variable.assign(tf.fill(variable.shape, float("nan")))
    assert plotting.render(plotting.figure(collect_curves(model)))


@pytest.mark.parametrize("name", ["$x_{1$", "line\nbreak", "日本語 \U0001f3c3", "x" * 900, "%s {}"])
def test_ids_of_any_characters_render(name):
    drawn = plotting.figure(small_recording(name))
    assert plotting.render(drawn)
    assert "\n" not in drawn.texts[0].get_text() and len(drawn.texts[0].get_text()) < 90


def test_picture_ends_somewhere():
    drawn = plotting.figure(small_recording(classes=MOST_PREDICTED + 3))
    assert len(panels(drawn, "truth")) == MOST_PREDICTED
    assert "classes not drawn: 3" in texts(drawn)


@pytest.mark.parametrize("file_format", FORMATS)
def test_formats(file_format):
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[file_format]
    assert plotting.render(plotting.figure(small_recording()), file_format).startswith(start)


def test_same_recording_same_bytes():
    first, second = (plotting.render(plotting.figure(small_recording())) for _ in range(2))
    assert first == second


def test_neither_pyplot_nor_tensorflow_is_imported():
    code = (
        "import sys, cpmn_tf.plotting; "
        "sys.exit(bool({'matplotlib.pyplot', 'tensorflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("fusion, formula", [("sigmoid", "Φ = sigmoid(M)·H"), ("raw", "Φ = M·H")])
def test_legend_says_what_phi_is(fusion, formula):
    drawn = plotting.figure(collect_curves(make_model(f"localization.fusion={fusion}")))
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert f"{formula} (filled: proposed)" in labels


@pytest.mark.parametrize(
    "combine, name", [("raw", "maximum"), ("normalized", "maximum"), ("mean", "mean")]
)
def test_legend_says_how_the_classifiers_are_combined(combine, name):
    drawn = plotting.figure(collect_curves(make_model(f"cascade.combine={combine}")))
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert [label for label in labels if "cascaded" in label] == [f"cascaded ({name})"]


def test_detections_dropped_for_their_length_are_said():
    recording = collect_curves(make_model("localization.min_seconds=1000"))
    assert "no detections of at least 1000 s" in texts(plotting.figure(recording))


def test_headings_of_long_names_end_within_the_picture(recording):
    long = "a class whose Name goes on, " * 9
    renamed = [dataclasses.replace(item, name=long) for item in recording.classes]
    drawn = plotting.figure(dataclasses.replace(recording, classes=tuple(renamed)))
    plotting.render(drawn)
    edges = [text.get_window_extent().x1 for axes in drawn.axes for text in axes.texts]
    assert recording.missed and recording.predicted and max(edges) <= drawn.bbox.x1


@pytest.mark.parametrize("count", [1, 5])
def test_frames_are_a_strip_over_the_whole_time(recording, count):
    frames = [np.full((30, 40, 3), 20 * k, np.uint8) for k in range(count)]
    drawn, without = plotting.figure(recording, frames), plotting.figure(recording)
    strip, *others = drawn.axes
    (image,) = strip.images
    np.testing.assert_array_equal(image.get_array(), np.concatenate(frames, axis=1))
    assert image.get_extent() == [0, recording.duration, 0, 1]
    assert strip.get_xlim() == (0.0, recording.duration) and not strip.axison
    assert len(others) == len(without.axes) and plotting.render(drawn).startswith(b"\x89PNG")
    box = strip.get_window_extent()
    assert box.width / box.height == pytest.approx(40 * count / 30)  # pixels are square
    for axes, before in zip(others, without.axes, strict=True):
        now, then = axes.get_window_extent(), before.get_window_extent()
        assert (now.x0, now.x1) == (box.x0, box.x1) and now.y1 < box.y0
        np.testing.assert_allclose([now.y0, now.y1], [then.y0, then.y1])
    legend = drawn.legends[0].get_window_extent()
    assert legend.y0 > box.y1


def test_truth_that_is_not_known_has_no_row(model):
    """As of a new video: neither labels nor instances."""
    batch = make_batch(truth=None)
    del batch["labels"]
    recording = plotting.collect_curves(model, batch, CLASSES)
    assert all(item.labelled is None and item.truth is None for item in recording.classes)
    drawn = plotting.figure(recording)
    words = texts(drawn)
    assert words.count("truth not known") == len(recording.predicted) == 2
    assert not panels(drawn, "truth") and not recording.missed
    assert "labels only" not in words and "not among the labels" not in words
    assert len(panels(drawn, "T-CAS")) == 4 and plotting.render(drawn)
    legend = {text.get_text() for text in drawn.legends[0].texts}
    assert "detection" in legend and not {"truth", "truth, other classes"} & legend


def test_arrays_of_one_video_are_a_batch_to_draw(model):
    """Which `cpmn_tf.localize` takes, too: with labels unknown, and the same curves."""
    known = make_batch()
    features = {name: values[0].numpy() for name, values in known["features"].items()}
    batch = inference.video_batch(features, model.streams, RATE, None)
    assert batch["duration"].numpy().tolist() == [12.5] and "labels" not in batch
    ours, theirs = (plotting.collect_curves(model, each, CLASSES) for each in (batch, known))
    for one, other in zip(ours.predicted, theirs.predicted, strict=True):
        np.testing.assert_array_equal(one.detections, other.detections)
        np.testing.assert_array_equal(one.curves["rgb"].phi, other.curves["rgb"].phi)

"""CPMN from features to detections against NumPy written from the paper, option by option."""

import math

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from cpmn_tf.config import Config, with_overrides
from cpmn_tf.localization import Detected, Trace
from cpmn_tf.models import CPMN

CLASSES = 4
SMALL = [
    "cascade.units=16",
    "cascade.filters=6",
    "cascade.threshold=0.6",
    "pyramid.filters=6",
    "pyramid.window=16",
    "pyramid.stride=16",
]

# One setting each (or what belongs together); all else is the paper's default.
CASES = {
    "default": [],
    "no attention": ["localization.attention=false"],
    "no mining": ["localization.mining=false"],
    "neither: CAM": ["localization.attention=false", "cascade.stages=1"],
    "one stage": ["cascade.stages=1"],
    "three stages": ["cascade.stages=3"],
    "a copy per class": ["cascade.inference_erasing=per_class"],
    "nothing erased at inference": ["cascade.inference_erasing=none"],
    "policy none": ["cascade.erasing=none"],
    "policy random": ["cascade.erasing=random", "cascade.stages=3"],
    "ratio to the maximum": ["cascade.normalization=ratio_to_max"],
    "sigmoid": ["cascade.normalization=sigmoid"],
    "erased by the mean": ["cascade.erased_value=mean", "cascade.stages=3"],
    "combined after min-max": ["cascade.combine=normalized"],
    "every unit": ["cascade.inference=every_unit"],
    "interval": ["cascade.sampling=uniform", "cascade.interval=3", "cascade.layers=3"],
    "interval of another sampling": ["cascade.interval=3"],
    "overlapping windows": ["pyramid.stride=6", "pyramid.lateral=bottom_up"],
    "windows of 13, three levels": [
        "pyramid.window=13",
        "pyramid.stride=40",
        "pyramid.levels=3",
        "pyramid.lateral=none",
    ],
    "resized": ["data.resize_units=24"],
    "resized, every unit, a copy per class": [
        "data.resize_units=24",
        "cascade.inference=every_unit",
        "cascade.inference_erasing=per_class",
        "cascade.stages=3",
    ],
    "pyramid resized": ["data.resize_units=24", "data.resize_modules=pyramid"],
    "one class": ["localization.top_k=1"],
    "classes by score": ["localization.selection=score", "localization.class_threshold=0.9"],
    # 0.61 and not 0.6, for [0, 3) and [0, 5) have exactly that tIoU.
    "several thresholds": [
        "localization.thresholds=0.2,0.5,0.8",
        "localization.nms_threshold=0.61",
    ],
    "softmax": ["training.loss=softmax", "localization.selection=absolute"],
    "later classifiers on their own": [
        "cascade.mining_pooling=unerased",
        "cascade.mining_gate=0.5",
        "cascade.inference=every_unit",
    ],
    "W-TALC's localization": [
        "cascade.stages=1",
        "cascade.layers=1",
        "cascade.kernel_size=1",
        "cascade.pooling=top",
        "cascade.pooling_k=4",
        "training.loss=softmax",
        "localization.attention=false",
        "localization.selection=absolute",
        "localization.class_threshold=0",
        "localization.class_score=logit",
        "localization.thresholds=0.5",
        "localization.threshold_range=min_max",
        "localization.p_act_statistic=max",
        "localization.class_weight=0.7",
    ],
    "logits of all": [
        "localization.class_score=logit",
        "localization.class_weight=0.7",
        "localization.confidence=outer_inner",
        "cascade.pooling=attention",
    ],
    "streams joined": ["data.fusion=early", "data.resize_units=24"],
    "Eq. 7 on Φ": ["localization.p_act=phi"],
    "Eq. 7 on Φ, no attention": ["localization.p_act=phi", "localization.attention=false"],
    "cut from the raw product": ["localization.fusion=raw"],
    "p_class as selected by": ["localization.p_class=first"],
    "outer-inner": ["localization.confidence=outer_inner", "localization.outer_ratio=0.5"],
    "soft NMS": ["localization.nms=soft"],
    "no NMS, minimum length": ["localization.nms=none", "localization.min_seconds=1.0"],
}
MADE: dict[tuple, CPMN] = {}  # making a model takes longer than running it
EXTERNAL = np.array([[0.1, 0.0, 0.7, 0.2], [0.9, 0.3, 0.8, 0.2], [0.0, 0.4, 0.0, 0.5]])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Several of them in each video."""
    monkeypatch.setattr("cpmn_tf.models.cpmn.CHUNK_UNITS", 7)


@pytest.fixture(autouse=True, scope="module")
def op_by_op():
    """Without tracing a graph for every shape; test_conformance.py holds graph and eager equal."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def videos():
    rng = np.random.default_rng(11)
    return [
        {
            "features": {"rgb": rng.normal(size=(units, 5)), "flow": rng.normal(size=(units, 3))},
            "rate": rate,
            "duration": duration,
        }
        for units, rate, duration in ((40, 5.0, 7.9), (7, 2.0, 3.5), (23, 6.25, 4.0))
    ]


class Reference:
    """One video after another, one class after another."""

    def __init__(self, model: CPMN, paper, arrays):
        self.config, self.streams, self.paper = model.config, list(model.branches), paper
        self.stages = {
            s: [arrays(stage) for stage in model.cascades[s].stages] for s in model.branches
        }
        self.pyramids = {}
        for name, pyramid in model.pyramids.items():
            parts = [
                paper.pairs([value for layer in layers for value in arrays(layer)])
                for layers in (pyramid.encoders, pyramid.predictors)
            ]
            self.pyramids[name] = (*parts, pyramid.config.lateral)

    def classify(self, x, weights):
        """Logits and T-CAS by the configured pooling."""
        section = self.config.cascade
        if section.pooling == "average":
            return self.paper.classify(x, weights)
        tcas = self.paper.classify(x, weights[: 2 * section.layers + 2])[1]
        return self.paper.pooled(x, weights, section.pooling, section.pooling_k), tcas

    def class_scores(self, logits):
        if self.config.localization.class_score == "logit":
            return logits
        if self.config.training.loss == "softmax":
            return np.exp(logits) / np.exp(logits).sum()
        return self.paper.sigmoid(logits)

    def resize(self, x, size):
        """Linear, each new unit at the centre of the time it covers."""
        at = (np.arange(size) + 0.5) * len(x) / size
        return np.transpose([np.interp(at, np.arange(len(x)) + 0.5, column) for column in x.T])

    def positions(self, units):
        section = self.config.cascade
        if section.inference == "every_unit":
            return np.arange(units)
        if section.sampling == "uniform" and section.interval:
            return np.arange(0, units, section.interval)
        if units <= section.units:
            return np.arange(units)
        return np.array([int((i + 0.5) * units / section.units) for i in range(section.units)])

    def first_pass(self, name, features):
        """What one stream knows before classes are selected."""
        data, pyramid = self.config.data, self.config.pyramid
        grid = features
        if data.resize_units and data.resize_modules == "both":
            grid = self.resize(features, data.resize_units)
        positions = self.positions(len(grid))
        logits, tcas = self.classify(grid[positions], self.stages[name][0])
        known = {"grid": len(grid), "at": positions, "x": grid[positions], "A": tcas}
        known["scores"] = [self.class_scores(logits)]
        if self.config.localization.attention:
            x = self.resize(features, data.resize_units) if data.resize_units else features
            weights = self.pyramids[name]
            sizes = pyramid.window, pyramid.stride
            scores, heat = self.paper.attend_video(x, *sizes, *weights, score=self.class_scores)
            known["scores"].append(scores)
            known["heat"] = heat if len(heat) == len(grid) else self.resize(heat, len(grid))
        return known

    def select(self, scores):
        section = self.config.localization
        if section.selection == "score":
            return [c for c in range(CLASSES) if scores[c] >= section.class_threshold * max(scores)]
        if section.selection == "absolute":
            least = min(section.class_threshold, np.nextafter(max(scores), -np.inf))
            return [c for c in range(CLASSES) if scores[c] > least]
        return sorted(sorted(range(CLASSES), key=lambda c: -scores[c])[: section.top_k])

    def mine(self, name, known, own, selected):
        """T-CAS and probability of class ``own`` from each mining stage."""
        section, found = self.config.cascade, []
        if not self.config.localization.mining:
            return found
        classes = {"per_class": [own], "union": selected, "none": []}[section.inference_erasing]
        if section.erasing != "adversarial":
            classes = []
        erased, tcas = np.zeros(len(known["x"]), bool), known["A"]
        for weights in self.stages[name][1:]:
            erased = erased | self.paper.mask(
                tcas, classes, section.threshold, section.normalization
            )
            left = self.paper.erase(known["x"], erased, section.erased_value)
            logits, tcas = self.classify(left, weights)
            if section.mining_pooling == "unerased":
                logits = tcas[~erased].mean(axis=0) + weights[-1]
                tcas = np.where(erased[:, None], 0, tcas)
            found.append((tcas[:, own], self.class_scores(logits)[own]))
        return found

    def trace(self, video, external=None):
        """Class scores, and per selected class the curves of each stream."""
        section = self.config.localization
        given = video["features"]
        parts = {
            name: self.first_pass(name, np.concatenate([given[s] for s in name.split("+")], axis=1))
            for name in self.streams
        }
        scores = np.mean([np.mean(part["scores"], axis=0) for part in parts.values()], axis=0)
        scores = scores if external is None else external
        rows = {}
        for own in self.select(scores):
            row = {key: [] for key in ("original", "mining", "cascaded", "attention", "phi", "act")}
            probabilities = []
            for name, part in parts.items():
                mined = self.mine(name, part, own, self.select(scores))
                curves = [part["A"][:, own], *(curve for curve, _ in mined)]
                if self.config.cascade.combine == "normalized":
                    cascaded = np.max([self.paper.min_max(curve) for curve in curves], axis=0)
                else:
                    gate = self.config.cascade.mining_gate
                    gated = [
                        np.where(self.paper.sigmoid(curve) > gate, curve, curves[0])
                        for curve in curves
                    ]
                    cascaded = np.max(gated, axis=0)
                mining = np.max(curves[1:] or curves, axis=0)
                m_a, m_b, m = (
                    np.interp(np.arange(part["grid"]), part["at"], curve)
                    for curve in (curves[0], mining, cascaded)
                )
                h = self.paper.attention(part["heat"][:, own]) if section.attention else 1.0 + 0 * m
                phi = self.paper.sigmoid(m) * h  # Eq. 4-5
                act = m * h if section.p_act == "raw" else phi
                if section.fusion == "raw" or not section.attention:
                    phi = m * h
                for key, value in zip(row, (m_a, m_b, m, h, phi, act), strict=True):
                    row[key].append(value)
                own_scores = [values[own] for values in part["scores"]]
                if section.p_class == "all":
                    own_scores += [probability for _, probability in mined]
                probabilities.append(np.mean(own_scores))
            row["act"] = np.mean(row["act"], axis=0)
            row["p_class"] = np.mean(probabilities) if external is None else external[own]
            rows[own] = row
        return scores, rows

    def detect(self, video, rows):
        """(start, end, class, score), best first, and the number of silent curves."""
        section, found, silent = self.config.localization, [], 0
        units = len(next(iter(video["features"].values())))
        for own, row in rows.items():
            seconds = units / len(row["act"]) / video["rate"]
            proposals = []
            for phi in row["phi"]:
                low = phi.min() if section.threshold_range == "min_max" else 0.0
                if phi.max() <= low:
                    silent += 1
                    continue
                for threshold in section.thresholds:
                    labelled, _ = scipy.ndimage.label(phi > low + threshold * (phi.max() - low))
                    for (part,) in scipy.ndimage.find_objects(labelled):
                        start, end = (
                            min(t * seconds, video["duration"]) for t in (part.start, part.stop)
                        )
                        if end > start and end - start >= section.min_seconds:
                            score = self.score(row["act"], part.start, part.stop)
                            if section.class_weight:
                                score += section.class_weight * row["p_class"]
                            else:
                                score *= row["p_class"]
                            proposals.append((start, end, own, score))
            found += self.suppress(proposals)
        return sorted(found, key=lambda item: -item[3]), silent

    def score(self, act, start, end):
        """Eq. 7, and the outer-inner contrast."""
        section = self.config.localization
        inner = getattr(act[start:end], section.p_act_statistic)()
        if section.confidence == "product":
            return inner
        flank = max(math.ceil((end - start) * section.outer_ratio), 1)
        outside = [*act[max(start - flank, 0) : start], *act[end : end + flank]]
        return inner - (np.mean(outside) if outside else 0)

    def suppress(self, proposals):
        section, kept = self.config.localization, []
        if section.nms == "none":
            return proposals
        waiting = [p for p in proposals if section.nms == "hard" or p[3] >= 1e-4]
        while waiting:
            best = max(waiting, key=lambda item: item[3])
            waiting.remove(best)
            kept.append(best)
            left = []
            for other in waiting:
                overlap = max(min(best[1], other[1]) - max(best[0], other[0]), 0)
                overlap /= (best[1] - best[0]) + (other[1] - other[0]) - overlap
                if section.nms == "hard" and overlap <= section.nms_threshold:
                    left.append(other)
                elif section.nms == "soft":
                    score = other[3] * math.exp(-(overlap**2) / 0.3)
                    if score >= 1e-4:
                        left.append((*other[:3], score))
            waiting = left
        return kept


def check(settings, videos, paper, arrays, padded, filled, external=None):
    config = with_overrides(Config(), [*SMALL, *settings])
    parts = (
        config.cascade,
        config.pyramid,
        config.data.fusion,
    )  # all that weights and modules depend on
    if parts not in MADE:
        made = CPMN(streams={"rgb": 5, "flow": 3}, num_classes=CLASSES, config=config)
        MADE[parts] = filled(made, 2)
    model = MADE[parts]
    model.config = config
    reference = Reference(model, paper, arrays)
    features = {
        name: padded([video["features"][name] for video in videos])[0] for name in model.streams
    }
    lengths = tf.constant([len(video["features"]["rgb"]) for video in videos])
    rates, durations = (
        tf.constant([video[key] for video in videos]) for key in ("rate", "duration")
    )
    given = None if external is None else tf.constant(external, tf.float32)
    trace = model.trace(features, lengths, rates, given)
    found = Detected(*(value.numpy() for value in model.detect(trace, durations)))
    trace = Trace(*(value.numpy() for value in trace))
    row = total = 0
    for number, video in enumerate(videos):
        scores, rows = reference.trace(video, None if external is None else external[number])
        np.testing.assert_allclose(trace.class_scores[number], scores, rtol=1e-4, atol=1e-5)
        for own, wanted in rows.items():
            assert trace.rows[row].tolist() == [number, own]
            for key, curve in wanted.items():
                ours = getattr(trace, key)[row]
                if np.ndim(curve):
                    ours, padding = np.split(ours, [np.shape(curve)[-1]], axis=-1)
                    assert key not in ("original", "mining", "cascaded") or not padding.any()
                name = f"{key} of class {own}"
                np.testing.assert_allclose(ours, curve, rtol=2e-4, atol=2e-5, err_msg=name)
            row += 1
        detections, silent = reference.detect(video, rows)
        assert found.counts[number] == len(detections)
        assert found.silent[number] == silent
        total += len(detections)
        for place, (start, end, label, score) in enumerate(detections):
            np.testing.assert_allclose(found.segments[number, place], [start, end], rtol=1e-5)
            np.testing.assert_allclose(found.scores[number, place], score, rtol=1e-3, atol=1e-5)
            assert found.labels[number, place] == label
    assert row == len(trace.rows)
    assert total >= 3  # else the comparison would say little


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_the_whole_model(settings, videos, paper, arrays, padded, filled):
    check(settings, videos, paper, arrays, padded, filled)


@pytest.mark.parametrize("settings", [[], ["localization.selection=score"]], ids=["top_k", "score"])
def test_with_external_class_scores(settings, videos, paper, arrays, padded, filled):
    check(settings, videos, paper, arrays, padded, filled, EXTERNAL)


def test_a_single_stream_and_three(videos, paper, arrays, padded, filled):
    """Streams are named: one alone works, and so do three, of any widths."""
    for widths in ({"flow": 3}, {"rgb": 5, "flow": 3, "audio": 2}):
        config = with_overrides(Config(), SMALL)
        model = filled(CPMN(streams=widths, num_classes=CLASSES, config=config))
        reference = Reference(model, paper, arrays)
        video = {**videos[0], "features": {**videos[0]["features"]}}
        video["features"]["audio"] = video["features"]["rgb"][:, :2] ** 2
        features = {name: tf.constant(video["features"][name][None]) for name in widths}
        trace = model.trace(features, tf.constant([40]), tf.constant([5.0]))
        scores, rows = reference.trace(video)
        np.testing.assert_allclose(trace.class_scores[0], scores, rtol=1e-4)
        for row, wanted in enumerate(rows.values()):
            assert trace.phi.shape[1] == len(widths)
            np.testing.assert_allclose(trace.phi[row], wanted["phi"], rtol=2e-4, atol=2e-5)
            np.testing.assert_allclose(trace.p_class[row], wanted["p_class"], rtol=1e-4)


def test_another_combination_of_the_stages(videos, filled):
    config = with_overrides(Config(), SMALL)
    model = filled(CPMN(streams={"rgb": 5}, num_classes=CLASSES, config=config), 2)
    inputs = {"rgb": tf.constant(videos[0]["features"]["rgb"][None])}, [40], [5.0]
    usual = model.trace(*inputs)
    other = model.trace(*inputs, combine=lambda curves, valid: -curves[0])
    np.testing.assert_array_equal(other.cascaded, -usual.original)
    np.testing.assert_array_equal(other.mining, usual.mining)
    np.testing.assert_allclose(
        other.phi, tf.sigmoid(-usual.original) * usual.attention, rtol=1e-6, atol=1e-7
    )


def test_features_of_half_precision_are_resized_in_float32(videos, filled):
    config = with_overrides(Config(), [*SMALL, "data.resize_units=24"])
    model = filled(CPMN(streams={"rgb": 5}, num_classes=CLASSES, config=config), 2)
    half = tf.constant(videos[0]["features"]["rgb"][None], tf.float16)
    exact = tf.cast(half, tf.float32)
    ours, wanted = (model.trace({"rgb": given}, [40], [5.0]) for given in (half, exact))
    np.testing.assert_array_equal(ours.phi, wanted.phi)

"""Every setting of the method: one frozen dataclass per concern, and the presets.

A field's default is the paper's reading of ``thumos14``; its ``help`` says what it does and names
the options. ``Config`` is what `cpmn-train` saves beside the weights.
"""

import dataclasses
import difflib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from absl import logging

from cpmn_tf.errors import UserError


def setting(
    default: Any, help: str, *, choices: tuple | None = None, low: Any = None, high: Any = None
) -> Any:
    """A dataclass field with its meaning and the values it may take (bounds are inclusive)."""
    metadata = {"help": help, "choices": choices, "low": low, "high": high}
    return dataclasses.field(default=default, metadata=metadata)


_SHARE: dict[str, Any] = {"low": 0.0, "high": 1.0}  # bounds of a setting
_LARGEST = 2**31 - 1  # units, steps and shapes are int32
_WANTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple[float, ...]: "a list of numbers",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Section:
    """Checks every field against its type, choices and bounds when it is made.

    A whole number given for a fraction becomes one; nothing else is converted.
    """

    def __post_init__(self) -> None:
        section = type(self).__name__.removesuffix("Config").lower()
        for field in dataclasses.fields(self):
            name = f"{section}.{field.name}"
            value = _checked(field.type, getattr(self, field.name), name, field.metadata)
            object.__setattr__(self, field.name, value)


def _checked(kind: Any, value: Any, name: str, bounds: Mapping[str, Any]) -> Any:
    if kind == tuple[float, ...] and isinstance(value, tuple | list):
        if not value:
            raise UserError(f"{name} is empty; give at least one number")
        return tuple(_checked(float, item, name, bounds) for item in value)
    if type(value) is int and abs(value) > _LARGEST:
        raise UserError(f"{name}={value} is beyond {_LARGEST}")
    if kind is float and type(value) is int:
        value = float(value)
    # A bool is an int to Python; a list of numbers has no single value that would do.
    a_bool = isinstance(value, bool) and kind is not bool
    if a_bool or not isinstance(kind, type) or not isinstance(value, kind):
        raise UserError(f"{name}={value!r} is not {_WANTED[kind]}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name}={value} is not a finite number")
    if bounds["choices"] is not None and value not in bounds["choices"]:
        raise UserError(f"{name}={value!r} is not one of {', '.join(bounds['choices'])}")
    if bounds["low"] is not None and value < bounds["low"]:
        raise UserError(f"{name}={value} is below {bounds['low']}")
    if bounds["high"] is not None and value > bounds["high"]:
        raise UserError(f"{name}={value} is above {bounds['high']}")
    return value


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(_Section):
    """Which records are used, and what both modules see of them.

    >>> DataConfig(test_split="testing").test_split
    'testing'
    """

    train_split: str = setting("validation", "split that cpmn-train reads by default")
    test_split: str = setting("test", "split that cpmn-localize and cpmn-evaluate read by default")
    fusion: str = setting(
        "separate",
        "modules for each stream, or for all streams' features side by side (early)",
        choices=("separate", "early"),
    )
    resize_units: int = setting(
        0, "units that every feature sequence is resized to, linearly; 0 keeps its own", low=0
    )
    resize_modules: str = setting(
        "both", "which modules see the resized sequence", choices=("both", "pyramid")
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CascadeConfig(_Section):
    """The cascaded classification module (CCM) and what it is fed.

    >>> CascadeConfig(threshold=2)
    Traceback (most recent call last):
    cpmn_tf.errors.UserError: cascade.threshold=2.0 is above 1.0
    """

    stages: int = setting(2, "number of cascaded classifiers; 1 is the CAM baseline", low=1)
    filters: int = setting(512, "filters of each temporal convolution", low=1)
    layers: int = setting(2, "temporal convolutions per classifier", low=1)
    kernel_size: int = setting(3, "kernel size of the temporal convolutions, in units", low=1)
    dropout: float = setting(
        0.0, "training: share of the first classifier's Z that is dropped", low=0.0, high=0.99
    )
    mining_dropout: float = setting(
        0.0, "training: share of the later classifiers' Z that is dropped", low=0.0, high=0.99
    )
    pooling: str = setting(
        "average",
        "how activations become a video's score: their mean over all units, over each class's "
        "highest ones, or weighted by a learned attention over units; soft_selection weighs each "
        "unit's class probabilities (UntrimmedNet; with training.loss=softmax)",
        choices=("average", "top", "attention", "soft_selection"),
    )
    pooling_k: int = setting(8, "pooling=top takes the highest ⌈T/k⌉ of T units", low=1)
    mining_pooling: str = setting(
        "all",
        "what later classifiers pool: all units, or the unerased ones only, with M = 0 on the rest",
        choices=("all", "unerased"),
    )
    erasing: str = setting(
        "adversarial",
        "what is erased between stages: regions the earlier stages found (the paper), random "
        "segments, or nothing; hide_and_seek hides random segments from the first stage too",
        choices=("adversarial", "random", "hide_and_seek", "none"),
    )
    threshold: float = setting(0.4, "erasing threshold ζ on the normalised T-CAS", **_SHARE)
    normalization: str = setting(
        "min_max",
        "how the T-CAS is brought to [0, 1] before ζ",
        choices=("min_max", "ratio_to_max", "sigmoid"),
    )
    erased_classes: str = setting(
        "union",
        "training: erase the union over a video's labels, or one copy per label",
        choices=("union", "per_class"),
    )
    inference_erasing: str = setting(
        "union",
        "inference: erase the union over the selected classes, one copy per class, or nothing",
        choices=("union", "per_class", "none"),
    )
    erased_value: str = setting(
        "zero", "what an erased unit's features become", choices=("zero", "mean")
    )
    random_segment: int = setting(16, "length of a random erased segment, in units", low=1)
    random_rate: float = setting(0.5, "probability that a random segment is erased", **_SHARE)
    combine: str = setting(
        "raw",
        "M(Cas) is the maximum over stages of the raw or of the min-max-normalised T-CAS, or the "
        "mean of the raw one",
        choices=("raw", "normalized", "mean"),
    )
    mining_gate: float = setting(
        0.0, "later stages count in M(Cas) only where sigmoid(M) is above this; 0: always", **_SHARE
    )
    sampling: str = setting(
        "sparse", "how training draws units", choices=("sparse", "uniform", "shot")
    )
    units: int = setting(
        400, "P: units drawn from each video; 0: derived from the training videos", low=0
    )
    interval: int = setting(
        0, "σ of uniform sampling, in units; 0 takes the centres of P equal segments", low=0
    )
    inference: str = setting(
        "sampled",
        "inference on the centres of P segments, or on every unit in chunks",
        choices=("sampled", "every_unit"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PyramidConfig(_Section):
    """The pyramid attention module (PAM) and its sliding windows.

    >>> PyramidConfig(window=128).levels
    4
    """

    levels: int = setting(
        4, "pyramid levels; level l pools by 2^(l-1); 0: no pyramid is trained", low=0, high=10
    )
    filters: int = setting(512, "filters of each level's convolution", low=1)
    lateral: str = setting(
        "top_down", "lateral connections", choices=("top_down", "bottom_up", "none")
    )
    window: int = setting(64, "T_w: window length, in units", low=1)
    train_stride: int = setting(32, "distance between training windows, in units", low=1)
    stride: int = setting(64, "distance between inference windows, in units", low=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig(_Section):
    """The optimisation, the same for both modules.

    >>> TrainingConfig(epochs=5).learning_rate
    0.001
    """

    batch_size: int = setting(16, "videos (cascade) or windows (pyramid) per step", low=1)
    group_size: int = setting(
        0,
        "the cascade's videos are drawn in groups of so many that share a class, and a batch holds "
        "whole groups; below 2 by themselves",
        low=0,
    )
    learning_rate: float = setting(1e-3, "Adam's rate in the first part", low=0.0)
    epochs: int = setting(30, "epochs at learning_rate", low=0)
    updates: int = setting(
        0, "the cascade's updates at learning_rate are so many at least: raises epochs", low=0
    )
    final_learning_rate: float = setting(1e-4, "Adam's rate in the second part", low=0.0)
    final_epochs: int = setting(120, "further epochs at final_learning_rate", low=0)
    cascade_l2: float = setting(0.0025, "λ of the cascade: λ·Σ½w² over kernels and biases", low=0.0)
    mining_l2: float = setting(
        1.0, "λ of the later classifiers, as a multiple of cascade_l2", low=0.0
    )
    pyramid_l2: float = setting(0.0, "λ of the pyramid (Eq. 6 is the cascade's)", low=0.0)
    loss: str = setting(
        "sigmoid",
        "cross-entropy of each class by itself (sigmoid), or of all against the labels divided by "
        "their number (softmax); class probabilities are the same function of the scores. both: "
        "the mean of the two, with probabilities by the sigmoid",
        choices=("sigmoid", "softmax", "both"),
    )
    class_reduction: str = setting(
        "sum", "how the cross-entropy is reduced over classes; rescales λ", choices=("sum", "mean")
    )
    coactivity: float = setting(
        0.0, "weight of the co-activity loss (W-TALC) within groups; 0: none", low=0.0
    )
    validation_fraction: float = setting(
        0.0, "share of the training videos held out by id for validation", low=0.0, high=0.9
    )
    validate_every: int = setting(10, "epochs between validations", low=1)
    pictures: int = setting(3, "recordings whose T-CAS TensorBoard follows", low=0)

    def __post_init__(self) -> None:
        """Checks each value, and that batches hold whole groups where there need be some."""
        super().__post_init__()
        if self.group_size > 1 and self.batch_size % self.group_size:
            raise UserError(
                f"training.batch_size={self.batch_size} holds no whole groups of training."
                f"group_size={self.group_size}; make it a multiple"
            )
        if self.coactivity and self.group_size < 2:
            raise UserError(
                f"training.coactivity={self.coactivity} compares videos of a group; set "
                "training.group_size to 2 or more"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalizationConfig(_Section):
    """From fused T-CAS to detections.

    >>> LocalizationConfig(thresholds=[0.1, 0.2]).thresholds
    (0.1, 0.2)
    """

    mining: bool = setting(True, "use the mining stages (False: original T-CAS only)")
    attention: bool = setting(True, "use the pyramidal attention map")
    fusion: str = setting(
        "sigmoid",
        "Φ that proposals are cut from: sigmoid(M)·H (Eq. 4-5), or M·H (raw), whose background is "
        "near 0 instead of H/2",
        choices=("sigmoid", "raw"),
    )
    selection: str = setting(
        "top_k",
        "classes kept per video: a fixed number, by score as a share of the video's best, or by "
        "score alone; the best is always kept",
        choices=("top_k", "score", "absolute"),
    )
    top_k: int = setting(2, "classes kept per video by selection=top_k", low=1)
    class_threshold: float = setting(
        0.5,
        "selection=score keeps classes of at least this share of the video's best score, "
        "selection=absolute those of a score above it",
        **_SHARE,
    )
    class_score: str = setting(
        "probability",
        "by what classes are selected and scored: probabilities, or the classifiers' scores as "
        "they are (W-TALC), without bounds; external scores are taken as given",
        choices=("probability", "logit"),
    )
    thresholds: tuple[float, ...] = setting(
        (0.2,), "θ_TCAS: shares of the maximum of Φ that cut proposals", **_SHARE
    )
    threshold_range: str = setting(
        "max",
        "what the thresholds are shares of: the maximum, or the way from minimum to maximum",
        choices=("max", "min_max"),
    )
    min_seconds: float = setting(0.0, "shorter proposals are dropped, in seconds", low=0.0)
    p_act: str = setting(
        "raw",
        "what Eq. 7 averages: M·H as printed (raw), without bounds, where a negative p_act turns "
        "the order of p_class round; or Φ in [0, 1] (phi); H is 1 without attention",
        choices=("raw", "phi"),
    )
    p_act_statistic: str = setting(
        "mean", "p_act is the mean (Eq. 7) or the maximum over a proposal", choices=("mean", "max")
    )
    p_class: str = setting(
        "all",
        "own class probability: the mean of sigmoid(A), sigmoid(B) and PAM, or without the mining "
        "stages, as classes are selected by (first)",
        choices=("all", "first"),
    )
    confidence: str = setting(
        "product",
        "p_act·p_class (Eq. 8), or with the mean just outside the proposal subtracted from p_act",
        choices=("product", "outer_inner"),
    )
    outer_ratio: float = setting(
        0.25, "confidence=outer_inner: flank on each side, as a share of the length", low=0.0
    )
    class_weight: float = setting(
        0.0, "w: above 0, the confidence is p_act + w·p_class instead of the product", low=0.0
    )
    nms: str = setting("hard", "suppression within a class", choices=("hard", "soft", "none"))
    nms_threshold: float = setting(0.3, "θ_NMS: tIoU above which the lower score goes", **_SHARE)

    def __post_init__(self) -> None:
        """Checks each value, and that scores without bounds meet no share and no product."""
        super().__post_init__()
        bounded = self.selection == "score" or not self.class_weight
        if self.class_score == "logit" and bounded:
            raise UserError(
                "localization.class_score=logit has no bounds; set localization.selection to top_k "
                "or absolute and localization.class_weight above 0"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a model folder.

    >>> Config(localization=LocalizationConfig(top_k=1)).cascade.threshold
    0.4
    """

    preset: str = "thumos14"
    data: DataConfig = DataConfig()
    cascade: CascadeConfig = CascadeConfig()
    pyramid: PyramidConfig = PyramidConfig()
    training: TrainingConfig = TrainingConfig()
    localization: LocalizationConfig = LocalizationConfig()

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kind: Any = field.type
            if not isinstance(value, kind):
                raise UserError(f"{field.name}={value!r} is not a {kind.__name__}")
        if self.localization.attention and not self.pyramid.levels:
            raise UserError(
                "pyramid.levels=0 leaves no attention; set localization.attention=false, or levels"
            )
        if self.cascade.pooling == "soft_selection" and self.training.loss != "softmax":
            raise UserError(
                "cascade.pooling=soft_selection weighs probabilities; set training.loss=softmax"
            )

    def branches(self, streams: Mapping[str, int]) -> dict[str, int]:
        """What modules are trained on: width by stream, or that of all together, ``rgb+flow``."""
        if self.data.fusion == "early":
            return {"+".join(streams): sum(streams.values())}
        return dict(streams)

    def to_dict(self) -> dict[str, Any]:
        """As nested plain values, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, value: dict[str, Any], *, source: str = "config") -> "Config":
        """The inverse of :meth:`to_dict`; what is missing has its default.

        Raises:
          UserError: on unknown sections or fields, or values of the wrong type or out of range;
            names ``source``.
        """
        given = dict(value)
        settings: dict[str, Any] = {}
        try:
            config = cls(preset=given.pop("preset", cls.preset))
            for section, fields in given.items():
                if section not in SECTIONS or not isinstance(fields, dict):
                    raise UserError(f"{section!r} is not a section of settings")
                settings |= {f"{section}.{field}": item for field, item in fields.items()}
            # A removed setting does no harm where it says what is done always now.
            removed = [
                name
                for name in REMOVED
                if name in settings and REMOVED[name] in (None, settings[name])
            ]
            if removed:
                names = ", ".join(removed)
                logging.warning("%s: ignored, as they were removed since: %s", source, names)
            left = {name: item for name, item in settings.items() if name not in removed}
            return with_settings(config, left)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error


# Settings of earlier versions, and the values that they always have now; None where no result
# depended on the value.
REMOVED = {
    "cascade.chunk_units": 4096,
    "training.shuffle_buffer": 4096,
    "localization.soft_nms_sigma": 0.3,
    "localization.min_score": 1e-4,
    "training.checkpoint_every": None,
}

SECTIONS = {name: type(value) for name, value in vars(Config()).items() if name != "preset"}

PRESETS = {
    "thumos14": Config(),
    "activitynet13": Config(
        preset="activitynet13",
        data=DataConfig(train_split="training", test_split="validation", resize_units=64),
        cascade=CascadeConfig(units=64),
        localization=LocalizationConfig(top_k=1, nms_threshold=0.5),
    ),
    # Chosen on people 1-6 of the training recordings; experiments/README.md has the figures.
    "watch": Config(
        preset="watch",
        data=DataConfig(train_split="training", test_split="testing"),
        # Four samples cover two seconds, so that two layers of kernel 3 see a whole repetition.
        cascade=CascadeConfig(units=128, filters=128),
        # Every window inherits its video's labels, so it must reach from any background stretch
        # (up to 25 s) into an instance.
        pyramid=PyramidConfig(levels=6, filters=128, window=512, train_stride=256, stride=512),
        training=TrainingConfig(epochs=20, final_epochs=10),
        localization=LocalizationConfig(
            fusion="raw",
            selection="score",
            class_threshold=0.3,
            p_class="first",
            confidence="outer_inner",
            outer_ratio=0.5,
            min_seconds=1.0,
        ),
    ),
    # For anybody's data: chosen by cross-validation on the training videos of four kinds of data;
    # experiments/rivals.md has the figures, and what each part gives. `resolve` derives the rest.
    "plus": Config(
        preset="plus",
        data=DataConfig(train_split="training", test_split="testing", fusion="early"),
        cascade=CascadeConfig(
            erasing="none",
            combine="mean",
            layers=1,
            filters=256,
            dropout=0.7,
            pooling="top",
            units=0,
        ),
        pyramid=PyramidConfig(levels=0),
        training=TrainingConfig(
            group_size=2,
            coactivity=1.0,
            loss="both",
            cascade_l2=5e-4,
            epochs=10,  # of data so large that they have more updates than these
            updates=600,
            final_epochs=0,
        ),
        localization=LocalizationConfig(
            attention=False,
            top_k=10,
            class_score="logit",
            class_weight=0.2,
            threshold_range="min_max",
            thresholds=(0.3, 0.4, 0.5, 0.6),
        ),
    ),
}

# tIoU thresholds that each preset's evaluation reports, as `--tiou` writes them.
TIOU = {
    "thumos14": "0.1:0.1:0.7",
    "activitynet13": "0.5:0.05:0.95",
    "watch": "0.1:0.1:0.7",
    "plus": "0.1:0.1:0.7",
}


def preset(name: str) -> Config:
    """The named preset.

    Raises:
      UserError: if there is none of that name.
    """
    if name not in PRESETS:
        raise UserError(f"preset={name!r} is not one of {', '.join(PRESETS)}")
    return PRESETS[name]


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """``config`` with some settings changed: ``{"training.epochs": 5}``.

    Raises:
      UserError: on an unknown setting or a value of the wrong type or out of range.
    """
    sections: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        _field(name)
        section, _, field = name.partition(".")
        sections.setdefault(section, {})[field] = value
    changed: dict[str, Any] = {
        section: dataclasses.replace(getattr(config, section), **fields)
        for section, fields in sections.items()
    }
    return dataclasses.replace(config, **changed)


def with_overrides(config: Config, assignments: list[str]) -> Config:
    """Applies ``section.field=value`` assignments, as `--set` takes them.

    Raises:
      UserError: on an unknown setting or a value that does not parse or is out of range.
    """
    return with_settings(config, parse_settings(assignments))


def parse_settings(assignments: Iterable[str]) -> dict[str, Any]:
    """Settings by name from ``section.field=value`` assignments, as `--set` takes them.

    Raises:
      UserError: on an unknown setting or a value that does not parse.
    """
    settings = {}
    for assignment in assignments:
        name, equals, text = (part.strip() for part in assignment.partition("="))
        try:
            if not (equals and "." in name):
                raise UserError("write it as section.field=value")
            settings[name] = _parse(_field(name).type, text)
        except UserError as error:
            raise UserError(f"--set={assignment}: {error}") from None
    return settings


def _field(name: str) -> dataclasses.Field:
    """The field of ``section.field``."""
    if name in REMOVED and REMOVED[name] is None:
        raise UserError(
            f"the setting {name} was removed, and no result depended on it; leave it out"
        )
    if name in REMOVED:
        raise UserError(
            f"the setting {name} was removed and is always {REMOVED[name]} now; leave it out, or "
            "train a new model where another value was used"
        )
    known = {f"{s}.{f.name}": f for s, kind in SECTIONS.items() for f in dataclasses.fields(kind)}
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        near = f" (did you mean {close[0]}?)" if close else ""
        raise UserError(f"there is no setting {name}{near}; cpmn-train --print_config lists them")
    return known[name]


def _parse(kind: Any, text: str) -> Any:
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind == tuple[float, ...]:
            return tuple(float(part) for part in text.split(",") if part.strip())
        return kind(text)
    except (KeyError, ValueError):
        raise UserError(f"{text!r} is not {_WANTED[kind]}") from None


def describe(config: Config) -> str:
    """Every field with its value and meaning, one per line, as `--print_config` shows it."""
    lines = []
    for section, kind in SECTIONS.items():
        lines.append(f"# {section}: {str(kind.__doc__).splitlines()[0]}")
        for field in dataclasses.fields(kind):
            value = getattr(getattr(config, section), field.name)
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            choices = field.metadata["choices"]
            text = field.metadata["help"] + (f" [{' | '.join(choices)}]" if choices else "")
            lines.append(f"{section}.{field.name}={shown}\n    {text}")
    return "\n".join(lines)

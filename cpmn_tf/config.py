"""Every setting of the method: one frozen dataclass per concern, and the presets.

A field's default is the paper's reading of ``thumos14``; its ``help`` says what it does and names
the options. ``Config`` is what `cpmn-train` saves beside the weights.
"""

import dataclasses
import difflib
import json
import math
from typing import Any

from cpmn_tf.errors import UserError


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A dataclass field with its meaning and the values it may take (bounds are inclusive)."""
    metadata = {"help": help, "choices": choices, "low": low, "high": high}
    return dataclasses.field(default=default, metadata=metadata)


_LARGEST = 2**31 - 1  # units, steps and shapes are int32


class _Section:
    """Checks every field against its type, choices and bounds when it is made."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name), type(self).__name__)


def _check(field: dataclasses.Field, value: Any, owner: str) -> None:
    meta = field.metadata
    name = f"{owner}.{field.name}" if owner else field.name
    values = value if isinstance(value, tuple) else (value,)
    if field.type in (tuple[float, ...],) and not values:
        raise UserError(f"{name} is empty; give at least one number")
    for item in values:
        if isinstance(item, float) and not math.isfinite(item):
            raise UserError(f"{name}={item} is not a finite number")
        if meta["choices"] is not None and item not in meta["choices"]:
            raise UserError(f"{name}={item!r} is not one of {', '.join(map(str, meta['choices']))}")
        if isinstance(item, int) and item > _LARGEST:
            raise UserError(f"{name}={item} is above {_LARGEST}")
        if meta["low"] is not None and item < meta["low"]:
            raise UserError(f"{name}={item} is below {meta['low']}")
        if meta["high"] is not None and item > meta["high"]:
            raise UserError(f"{name}={item} is above {meta['high']}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(_Section):
    """Which records are used, and what both modules see of them."""

    train_split: str = setting("validation", "split that cpmn-train reads by default")
    test_split: str = setting("test", "split that cpmn-localize and cpmn-evaluate read by default")
    resize_units: int = setting(
        0,
        "length every feature sequence is resized to by linear interpolation, in units; 0 keeps it",
        low=0,
    )
    resize_modules: str = setting(
        "both", "which modules see the resized sequence", choices=("both", "pyramid")
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CascadeConfig(_Section):
    """The cascaded classification module (CCM) and what it is fed."""

    stages: int = setting(2, "number of cascaded classifiers; 1 is the CAM baseline", low=1)
    filters: int = setting(512, "filters of each temporal convolution", low=1)
    layers: int = setting(2, "temporal convolutions per classifier", low=1)
    kernel_size: int = setting(3, "kernel size of the convolutions, in units", low=1)
    erasing: str = setting(
        "adversarial",
        "what is erased between stages: regions the earlier stages found (the paper), random "
        "segments (Hide-and-Seek), or nothing",
        choices=("adversarial", "random", "none"),
    )
    threshold: float = setting(
        0.4, "erasing threshold ζ on the normalised T-CAS", low=0.0, high=1.0
    )
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
    random_rate: float = setting(
        0.5, "probability that a random segment is erased", low=0.0, high=1.0
    )
    combine: str = setting(
        "raw",
        "M(Cas) is the maximum over stages of the raw or of the min-max-normalised T-CAS",
        choices=("raw", "normalized"),
    )
    sampling: str = setting(
        "sparse", "how training draws units", choices=("sparse", "uniform", "shot")
    )
    units: int = setting(400, "P: units drawn from each video", low=1)
    interval: int = setting(
        0, "σ of uniform sampling, in units; 0 takes the centres of P equal segments", low=0
    )
    inference: str = setting(
        "sampled",
        "inference on the centres of P segments, or on every unit in chunks",
        choices=("sampled", "every_unit"),
    )
    chunk_units: int = setting(4096, "units per chunk of inference=every_unit", low=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PyramidConfig(_Section):
    """The pyramid attention module (PAM) and its sliding windows."""

    levels: int = setting(4, "pyramid levels; level l pools by 2^(l-1)", low=1, high=10)
    filters: int = setting(512, "filters of each level's convolution", low=1)
    lateral: str = setting(
        "top_down", "lateral connections", choices=("top_down", "bottom_up", "none")
    )
    window: int = setting(64, "T_w: window length, in units", low=1)
    train_stride: int = setting(32, "distance between training windows, in units", low=1)
    stride: int = setting(64, "distance between inference windows, in units", low=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig(_Section):
    """The optimisation, the same for both modules."""

    batch_size: int = setting(16, "videos (cascade) or windows (pyramid) per step", low=1)
    learning_rate: float = setting(1e-3, "Adam's rate in the first part", low=0.0)
    epochs: int = setting(30, "epochs at learning_rate", low=0)
    final_learning_rate: float = setting(1e-4, "Adam's rate in the second part", low=0.0)
    final_epochs: int = setting(120, "further epochs at final_learning_rate", low=0)
    cascade_l2: float = setting(0.0025, "λ of the cascade: λ·Σ½w² over kernels and biases", low=0.0)
    pyramid_l2: float = setting(0.0, "λ of the pyramid (Eq. 6 is the cascade's)", low=0.0)
    class_reduction: str = setting(
        "sum",
        "how the cross-entropy is reduced over classes; it rescales λ",
        choices=("sum", "mean"),
    )
    validation_fraction: float = setting(
        0.0, "share of the training videos held out by id for validation", low=0.0, high=0.9
    )
    validate_every: int = setting(10, "epochs between validations", low=1)
    pictures: int = setting(3, "recordings whose T-CAS TensorBoard follows", low=0)
    checkpoint_every: int = setting(5, "epochs between checkpoints", low=1)
    shuffle_buffer: int = setting(4096, "serialized records held for shuffling", low=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalizationConfig(_Section):
    """From fused T-CAS to detections."""

    mining: bool = setting(True, "use the mining stages (False: original T-CAS only)")
    attention: bool = setting(True, "use the pyramidal attention map")
    fusion: str = setting(
        "sigmoid",
        "Φ that proposals are cut from: sigmoid(M)·H (Eq. 4-5), or M·H (raw), whose background is "
        "near 0 instead of H/2",
        choices=("sigmoid", "raw"),
    )
    selection: str = setting(
        "top_k", "classes kept per video: a fixed number or by score", choices=("top_k", "score")
    )
    top_k: int = setting(2, "classes kept per video by selection=top_k", low=1)
    class_threshold: float = setting(
        0.5,
        "selection=score keeps classes of at least this share of the video's best score",
        low=0.0,
        high=1.0,
    )
    thresholds: tuple[float, ...] = setting(
        (0.2,), "θ_TCAS: shares of the maximum of Φ that cut proposals", low=0.0, high=1.0
    )
    min_seconds: float = setting(0.0, "shorter proposals are dropped, in seconds", low=0.0)
    p_act: str = setting(
        "raw",
        "what Eq. 7 averages: M·H as printed (raw), without bounds, or Φ in [0, 1] (phi); H is 1 "
        "without attention",
        choices=("raw", "phi"),
    )
    p_class: str = setting(
        "all",
        "own class probability: the mean of sigmoid(A), sigmoid(B) and PAM, or without the mining "
        "stages, as classes are selected by (first)",
        choices=("all", "first"),
    )
    confidence: str = setting(
        "product",
        "p_act·p_class (Eq. 8), or with p_act less its mean just outside the proposal",
        choices=("product", "outer_inner"),
    )
    outer_ratio: float = setting(
        0.25, "confidence=outer_inner: flank on each side, as a share of the length", low=0.0
    )
    nms: str = setting("hard", "suppression within a class", choices=("hard", "soft", "none"))
    nms_threshold: float = setting(
        0.3, "θ_NMS: tIoU above which the lower score goes", low=0.0, high=1.0
    )
    soft_nms_sigma: float = setting(0.3, "nms=soft: σ of exp(-tIoU²/σ)", low=1e-6)
    min_score: float = setting(
        1e-4, "nms=soft: detections whose decayed score is lower are dropped", low=0.0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a model folder."""

    preset: str = "thumos14"
    data: DataConfig = DataConfig()
    cascade: CascadeConfig = CascadeConfig()
    pyramid: PyramidConfig = PyramidConfig()
    training: TrainingConfig = TrainingConfig()
    localization: LocalizationConfig = LocalizationConfig()

    def to_dict(self) -> dict[str, Any]:
        """As nested plain values, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, value: dict[str, Any], *, source: str = "config") -> "Config":
        """The inverse of :meth:`to_dict`.

        Raises:
          UserError: on unknown sections or fields, or values out of range; names ``source``.
        """
        try:
            sections = {}
            for name, section in SECTIONS.items():
                given = dict(value.get(name, {}))
                for field in dataclasses.fields(section):
                    if isinstance(given.get(field.name), list):
                        given[field.name] = tuple(given[field.name])
                sections[name] = section(**given)
            unknown = set(value) - set(SECTIONS) - {"preset"}
            if unknown:
                raise UserError(f"unknown section {sorted(unknown)[0]!r}")
            return cls(preset=str(value.get("preset", "thumos14")), **sections)
        except (TypeError, ValueError) as error:
            raise UserError(f"{source}: {error}; it was written by another version") from error


SECTIONS = {
    "data": DataConfig,
    "cascade": CascadeConfig,
    "pyramid": PyramidConfig,
    "training": TrainingConfig,
    "localization": LocalizationConfig,
}

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
}

# tIoU thresholds that each preset's evaluation reports, as `--tiou` writes them.
TIOU = {"thumos14": "0.1:0.1:0.7", "activitynet13": "0.5:0.05:0.95", "watch": "0.1:0.1:0.7"}


def preset(name: str) -> Config:
    """The named preset.

    Raises:
      UserError: if there is none of that name.
    """
    if name not in PRESETS:
        raise UserError(f"--preset={name} is not one of {', '.join(PRESETS)}")
    return PRESETS[name]


def with_overrides(config: Config, assignments: list[str]) -> Config:
    """Applies ``section.field=value`` assignments, as `--set` takes them.

    Raises:
      UserError: on an unknown field or a value that does not parse or is out of range.
    """
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        section, dot, field_name = name.strip().partition(".")
        if not (equals and dot):
            raise UserError(f"--set={assignment}: write it as section.field=value")
        fields = {f.name: f for f in dataclasses.fields(SECTIONS.get(section, _Nothing))}
        if field_name not in fields:
            raise UserError(f"--set={assignment}: no such field{_near(name)}; see --print_config")
        value = _parse(fields[field_name].type, text.strip(), assignment)
        try:
            changed = dataclasses.replace(getattr(config, section), **{field_name: value})
        except UserError as error:
            raise UserError(f"--set={assignment}: {error}") from None
        config = dataclasses.replace(config, **{section: changed})
    return config


@dataclasses.dataclass
class _Nothing:
    """Stands for a section that does not exist."""


def _near(name: str) -> str:
    known = [f"{s}.{f.name}" for s, kind in SECTIONS.items() for f in dataclasses.fields(kind)]
    found = difflib.get_close_matches(name.strip(), known, 1)
    return f" (did you mean {found[0]}?)" if found else ""


_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


def _parse(kind: Any, text: str, assignment: str) -> Any:
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind == tuple[float, ...]:
            return tuple(float(part) for part in text.split(",") if part.strip())
        return kind(text)
    except (KeyError, ValueError):
        wanted = _KINDS.get(kind, "a comma-separated list of numbers")
        raise UserError(f"--set={assignment}: {text!r} is not {wanted}") from None


def describe(config: Config) -> str:
    """Every field with its value and meaning, one per line, as `--print_config` shows it."""
    lines = []
    for section in SECTIONS:
        values = getattr(config, section)
        lines.append(f"# {section}: {type(values).__doc__.splitlines()[0]}")
        for field in dataclasses.fields(values):
            value = getattr(values, field.name)
            if isinstance(value, tuple):
                value = ",".join(map(str, value))
            text = field.metadata["help"]
            if field.metadata["choices"]:
                text += f" [{' | '.join(map(str, field.metadata['choices']))}]"
            lines.append(f"{section}.{field.name}={value}\n    {text}")
    return "\n".join(lines)

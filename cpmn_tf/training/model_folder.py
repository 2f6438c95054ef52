"""A model's folder: what it is of, its weights, and loading it for inference.

``model.json`` holds the resolved configuration, the data set's streams, widths and classes, and
what fixes the weights' bits (seed, precision, the training records' fingerprint). Each module of
each stream has its checkpoints in ``streams/STREAM/MODULE/``.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from cpmn_tf import __version__
from cpmn_tf.config import Config, with_settings
from cpmn_tf.data.manifest import Manifest, StreamSpec, check_classes, check_stream_names
from cpmn_tf.encoding.description import first_difference
from cpmn_tf.errors import UserError
from cpmn_tf.files import local, read_own_json, write_json
from cpmn_tf.models import CPMN

FILE = "model.json"
MODULES = ("cascade", "pyramid")

# What TensorFlow raises over a checkpoint that is damaged or of something else.
CHECKPOINT_ERRORS = (tf.errors.OpError, AssertionError, IndexError, KeyError, ValueError)

# Types of what model.json holds, in JSON.
_TYPES = {"config": dict, "streams": list, "classes": list, "seed": int, "precision": str}
_TYPES |= {"train_split": str, "validation_split": str, "fingerprint": str}
_TYPES |= {"contents": dict, "encoder": dict}

# Settings that may change after training: they act at inference only.
INFERENCE_SETTINGS = frozenset(
    {
        "cascade.inference",
        "cascade.inference_erasing",
        "cascade.combine",
        "cascade.mining_gate",
        "pyramid.stride",
        "data.test_split",
        *(f"localization.{field.name}" for field in dataclasses.fields(Config().localization)),
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelManifest:
    """What ``model.json`` says.

    Attributes:
      config: all settings.
      streams: width G by stream name, in order.
      classes: class names in the order of the outputs.
      seed: of weights, order and sampling.
      precision: Keras' dtype policy.
      train_split: split trained on.
      validation_split: split validated on, '' for none of its own.
      fingerprint: digest of the training split's records.
      contents: of the training split, :meth:`~cpmn_tf.data.pipeline.Split.contents`; empty in
        folders of older versions.
      encoder: how the features were made, as ``encoder.json`` says; empty where it is not known.

    >>> manifest = ModelManifest.load("model")
    >>> manifest.streams, manifest.config.training.epochs
    ({'rgb': 12, 'flow': 8}, 6)
    """

    config: Config
    streams: dict[str, int]
    classes: tuple[str, ...]
    seed: int = 0
    precision: str = "float32"
    train_split: str = ""
    validation_split: str = ""
    fingerprint: str = ""
    contents: Mapping[str, int | str] = dataclasses.field(default_factory=dict)
    encoder: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        streams = " and ".join(f"{name} ({width})" for name, width in self.streams.items())
        return (
            f"CPMN of {streams}, {len(self.classes)} classes, preset {self.config.preset}, "
            f"trained on {self.train_split!r} with seed {self.seed}"
        )

    @property
    def branches(self) -> dict[str, int]:
        """What modules there are of, as :meth:`Config.branches` says."""
        return self.config.branches(self.streams)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        value = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return value | {
            "config": self.config.to_dict(),
            "classes": list(self.classes),
            "streams": [{"name": name, "width": width} for name, width in self.streams.items()],
        }

    @classmethod
    def load(cls, model_dir: str | os.PathLike) -> "ModelManifest":
        """Reads ``model.json``.

        Raises:
          UserError: if it is missing or damaged.
        """
        path = local(model_dir) / FILE
        if not path.is_file():
            raise UserError(f"{path}: there is no such file; give a folder that cpmn-train made")
        value = read_own_json(path)
        try:
            value = {"contents": {}, "encoder": {}, **value}
            value = {field.name: value[field.name] for field in dataclasses.fields(cls)}
            for name, kind in _TYPES.items():
                if type(value[name]) is not kind:
                    raise TypeError(f"{name} is {value[name]!r:.60}")
            streams = [StreamSpec(**item) for item in value["streams"]]
            check_stream_names([spec.name for spec in streams])
            value["streams"] = {spec.name: spec.width for spec in streams}
            value["classes"] = tuple(value["classes"])
            check_classes(value["classes"])
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: is damaged ({error!r}); train into a new folder") from error
        value["config"] = Config.from_dict(value["config"], source=str(path))
        return cls(**value)

    def claim(self, model_dir: str | os.PathLike) -> None:
        """Writes the manifest into a new folder, or checks that the one there is the same.

        Raises:
          UserError: if the folder is another model's; names the first setting that differs, or
            what of the training data does.
        """
        path = local(model_dir) / FILE
        if not path.is_file():
            write_json(path, {**self.to_dict(), "version": __version__})
            return
        earlier = ModelManifest.load(model_dir)
        before, now = flatten(earlier.to_dict()), flatten(self.to_dict())
        for key in now:  # the settings before the data
            if key.partition(".")[0] in ("classes", "fingerprint", "contents", "encoder"):
                continue
            if before.get(key) != now[key]:
                raise UserError(
                    f"{path}: was made with {key}={before.get(key)!r}, now it is "
                    f"{now[key]!r}; train into a new folder or undo the change"
                )
        if (self.classes, self.fingerprint) != (earlier.classes, earlier.fingerprint):
            raise UserError(
                f"{path}: the training data changed ({self._changes(earlier)}); train into a new "
                "folder, or on the data of before"
            )

    def _changes(self, earlier: "ModelManifest") -> str:
        """What is other in the training data than it was for ``earlier``."""
        changes = []
        if self.classes != earlier.classes:
            for what, ours, theirs in (
                ("more", self.classes, earlier.classes),
                ("fewer", earlier.classes, self.classes),
            ):
                if names := [name for name in ours if name not in theirs]:
                    changes.append(f"{what} classes: {_short(', '.join(map(repr, names)))}")
            changes = changes or ["the order of the classes"]
        now, before = self.contents, earlier.contents
        if not before:
            return ", ".join(changes) or "a folder of an older version does not say what"
        if now["ids"] != before["ids"]:
            changes.append(f"other videos: {before['videos']} then, {now['videos']} now")
        elif not changes and now["labels"] != before["labels"]:
            changes.append("labels of the same videos")
        return ", ".join(changes) or "features, times or shards of the same videos and labels"

    def check_data(self, manifest: Manifest) -> None:
        """Checks that a data set has this model's streams, widths and classes.

        Raises:
          UserError: naming what differs.
        """
        streams = {spec.name: spec.width for spec in manifest.streams}
        for what, ours, theirs in (
            ("streams", self.streams, streams),
            ("classes", list(self.classes), list(manifest.classes)),
        ):
            if ours != theirs:
                raise UserError(
                    f"{manifest.folder}: its {what} are {_short(theirs)}, the model's are "
                    f"{_short(ours)}; use the data set it was trained on, or one built like it"
                )
        made = manifest.source.get("encoder")
        if made and self.encoder and (field := first_difference(self.encoder, made)):
            raise UserError(
                f"{manifest.folder}: the model's features were made with {field}; encode the "
                "videos as those that it was trained on"
            )

    def check_streams(self, names: Sequence[str]) -> None:
        """Checks that streams asked for by name are among the model's.

        Raises:
          UserError: naming the first that is not.
        """
        for name in names:
            if name not in self.branches:
                raise UserError(
                    f"`streams={name}`: there is no such stream; {_short(self.branches)}"
                )

    def with_inference_settings(self, settings: Mapping[str, Any]) -> "ModelManifest":
        """Applies settings that act at inference.

        Raises:
          UserError: if one would need training anew.
        """
        config = with_settings(self.config, settings)
        for name in settings:
            if name not in INFERENCE_SETTINGS:
                raise UserError(f"{name} acts in training only; train a model with it instead")
        return dataclasses.replace(self, config=config)


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level with dotted keys."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        inner: item
        for key, part in value.items()
        for inner, item in flatten(part, f"{prefix}.{key}" if prefix else key).items()
    }


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def modules_of(config: Config) -> tuple[str, ...]:
    """The modules that are trained of each stream."""
    return MODULES if config.pyramid.levels else MODULES[:1]


def module_folder(model_dir: str | os.PathLike, stream: str, module: str) -> pathlib.Path:
    """Where the checkpoints of one module of one stream are."""
    return pathlib.Path(model_dir) / "streams" / stream / module


def checkpoints_in(folder: str | os.PathLike) -> list[str]:
    """The checkpoints in a folder, the last first.

    By the names of the files, as TensorFlow's own list of them may be lost or behind.

    >>> checkpoints_in("model/streams/rgb/cascade")
    ['model/streams/rgb/cascade/ckpt-24', 'model/streams/rgb/cascade/ckpt-21']
    """
    found = [path.with_suffix("") for path in pathlib.Path(folder).glob("ckpt-*.index")]
    return list(map(str, sorted(found, key=lambda path: -step_of(path))))


def step_of(checkpoint: str | os.PathLike) -> int:
    """The step that a checkpoint is of."""
    return int(str(checkpoint).rpartition("-")[2])


def load_model(
    model_dir: str | os.PathLike,
    settings: Mapping[str, Any] | None = None,
    streams: Sequence[str] = (),
) -> CPMN:
    """The trained model of a folder, ready for inference in float32.

    Args:
      model_dir: of `cpmn-train`.
      settings: what differs at inference, such as ``{"localization.top_k": 1}``.
      streams: to use, by name; all by default.

    Returns:
      The model; its ``manifest`` is what ``model.json`` says, with ``settings`` applied.

    Raises:
      UserError: if the folder is none of `cpmn-train`, its training has not come to its end, or
        a checkpoint does not fit.
    """
    manifest = ModelManifest.load(model_dir).with_inference_settings(settings or {})
    manifest.check_streams(streams)
    wanted = "+".join(streams or manifest.streams).split("+")
    used = {name: width for name, width in manifest.streams.items() if name in wanted}
    model = CPMN(streams=used, num_classes=len(manifest.classes), config=manifest.config)
    model.manifest = manifest
    for stream in model.branches:
        parts = {"cascade": model.cascades, "pyramid": model.pyramids}
        for module in modules_of(manifest.config):
            restore_weights(parts[module][stream], module_folder(model_dir, stream, module))
    return model


def plain_variables(owner: keras.Model | keras.optimizers.Optimizer) -> list[tf.Variable]:
    """The TensorFlow variables of a model or optimizer, in their order.

    Checkpoints hold these by name of place. Handing the Keras object itself to
    ``tf.train.Checkpoint`` saves nothing of layers kept in a list (Keras 3.15), and restoring it
    claims success.
    """
    return [variable.value for variable in owner.variables]


def restore_weights(module: keras.Model, folder: pathlib.Path) -> None:
    """Restores a module's weights from its last finished checkpoint.

    Raises:
      UserError: if there is none, training was not finished, or the checkpoint is of another
        module.
    """
    try:
        latest = next(iter(checkpoints_in(folder)), None)
        if latest is None:
            raise UserError(f"{folder}: holds no checkpoint; run cpmn-train to its end")
        finished = tf.Variable(False)
        weights = plain_variables(module)
        status = tf.train.Checkpoint(weights=weights, finished=finished).restore(latest)
        status.assert_existing_objects_matched().expect_partial()
    except CHECKPOINT_ERRORS as error:
        if isinstance(error, UserError):
            raise
        line = str(error).strip().splitlines()[0][:200]
        raise UserError(
            f"{folder}: its checkpoint does not fit ({line}); run cpmn-train again"
        ) from error
    if not finished.numpy():
        raise UserError(f"{folder}: its training was interrupted; run cpmn-train again to end it")

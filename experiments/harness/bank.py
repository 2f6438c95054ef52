"""Trained models that experiments share: nothing is trained twice.

A module (one stream's cascade or pyramid) is the same whatever is done after it, and whatever the
other module is. The bank keeps one folder per model, and per module the checkpoints of the first
model it was trained in; a second model that needs the same module finds it finished.
"""

import hashlib
import itertools
import json
import os
import pathlib
import shutil
import time
from typing import Any

from cpmn_tf.commands.progress import ProgressBar
from cpmn_tf.config import Config, with_overrides
from cpmn_tf.data.pipeline import Split
from cpmn_tf.files import read_json, replaced, write_json
from cpmn_tf.training import train
from cpmn_tf.training.model_folder import INFERENCE_SETTINGS, flatten, module_folder, modules_of
from cpmn_tf.training.resolve import resolve

_SECONDS = "seconds.json"  # of the processor, that it took to make what is in the folder

# Settings that a module's weights do not depend on, besides those that act at inference only.
_WATCHING = ("preset", "training.validate_every", "training.pictures")
_FOREIGN = {
    "cascade": (*_WATCHING, "pyramid.", "training.pyramid_l2"),
    "pyramid": (
        *_WATCHING,
        "cascade.",
        *(f"training.{name}" for name in ("cascade_l2", "mining_l2", "coactivity", "group_size")),
    ),
}


def digest(value: object) -> str:
    """Twelve hex digits that identify plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def train_once(
    folder: pathlib.Path,
    data_dir: str | os.PathLike,
    config: Config,
    *,
    seed: int,
    precision: str = "float32",
) -> pathlib.Path:
    """The folder of the model of these settings and seed, trained if it was not yet.

    Args:
      folder: of the bank.
      data_dir: of `cpmn-build-records`.
      config: all settings.
      seed: of weights, order and sampling.
      precision: Keras' dtype policy.
    """
    # Pictures of dozens of models cost minutes, and nobody looks at them.
    config = with_overrides(config, ["training.pictures=0"])
    split = Split.open(data_dir, config.data.train_split)
    manifest = split.manifest
    config = resolve(config, split.lengths, manifest.rate)
    common = [seed, precision, manifest.fingerprint(config.data.train_split)]
    model_dir = folder / "models" / f"{digest([differing(config), *common])}_seed{seed}"
    finished = model_dir / "in_the_bank"
    if finished.exists():
        return model_dir
    shared = {}
    branches = config.branches({spec.name: spec.width for spec in manifest.streams})
    for name, module in itertools.product(branches, modules_of(config)):
        key = digest([module_settings(config, module), *common])
        kept = folder / "modules" / f"{name}_{module}_{key}"
        shared[kept] = module_folder(model_dir, name, module)
    for kept, own in shared.items():
        _link(kept, own)
    bar, seconds, last = ProgressBar(), dict.fromkeys(shared.values(), 0.0), time.process_time()

    def progress(label: str, *done: Any) -> None:
        nonlocal last
        now = time.process_time()  # other work on the machine does not count
        seconds[module_folder(model_dir, *label.rsplit(" ", 1))] += now - last
        last = now
        bar.update(label, *done)

    try:
        train(
            data_dir=data_dir,
            model_dir=model_dir,
            config=config,
            seed=seed,
            precision=precision,
            progress=progress,
            report=bar.report,
        )
    finally:
        for own, spent in seconds.items():
            if spent:
                add_seconds(own, spent)
    bar.end()
    for kept, own in shared.items():
        _link(own, kept)
    finished.touch()
    return model_dir


def seconds_of(folder: pathlib.Path) -> float:
    """The seconds of the processor that are noted in a folder."""
    path = folder / _SECONDS
    return read_json(path) if path.is_file() else 0.0


def add_seconds(folder: pathlib.Path, spent: float) -> None:
    """Notes seconds in a folder, such as a module's, beside those of runs that were killed."""
    write_json(folder / _SECONDS, seconds_of(folder) + spent)


def minutes(model_dir: pathlib.Path) -> float:
    """What a model's modules took of the processor to be trained, wherever in the bank that was."""
    return sum(map(seconds_of, model_dir.glob("streams/*/*"))) / 60


def differing(config: Config) -> dict[str, object]:
    """The settings that are not at their default.

    A setting that is new since a model was trained does not have it trained anew.
    """
    default = flatten(Config().to_dict())
    settings = flatten(config.to_dict())
    return {name: value for name, value in settings.items() if value != default[name]}


def module_settings(config: Config, module: str) -> dict[str, object]:
    """The settings that a module's weights depend on, where they are not at their default."""
    return {
        name: value
        for name, value in differing(config).items()
        if name not in INFERENCE_SETTINGS and not name.startswith(_FOREIGN[module])
    }


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    """A second name for each checkpoint file; TensorFlow replaces files, it never changes them."""
    if source.exists() and not target.exists():
        with replaced(target) as temporary:
            shutil.copytree(source, temporary, copy_function=os.link)

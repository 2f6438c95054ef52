"""Trained models that experiments share: nothing is trained twice.

A module (one stream's cascade or pyramid) is the same whatever is done after it, and whatever the
other module is. The bank keeps one folder per model, and per module the checkpoints of the first
model it was trained in; a second model that needs the same module finds it finished.
"""

import hashlib
import json
import os
import pathlib
import shutil

from cpmn_tf.commands.progress import ProgressBar
from cpmn_tf.config import Config, with_overrides
from cpmn_tf.data.pipeline import Split
from cpmn_tf.files import replaced
from cpmn_tf.training import train
from cpmn_tf.training.model_folder import INFERENCE_SETTINGS, MODULES, flatten, module_folder

# Settings that a module does not see, besides those that act at inference only.
_FOREIGN = {"cascade": ("pyramid.", "training.pyramid_l2"), "pyramid": ("cascade.",)}
_FOREIGN["pyramid"] += ("training.cascade_l2",)
_WATCHING = ("training.validate_every", "training.checkpoint_every", "training.pictures")


def digest(value: object) -> str:
    """Twelve hex digits that identify plain values."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Bank:
    """The trained models of one data set.

    Args:
      folder: where they are kept.
      data_dir: of `cpmn-build-records`.
      config: settings that the variants start from.
      precision: Keras' dtype policy.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        data_dir: str | os.PathLike,
        config: Config,
        *,
        precision: str = "float32",
    ):
        self._folder, self._data_dir = pathlib.Path(folder), data_dir
        # Pictures of dozens of models cost minutes, and nobody looks at them.
        self._config = with_overrides(config, ["training.pictures=0"])
        self._precision = precision
        manifest = Split.open(data_dir, config.data.train_split).manifest
        self._streams = [spec.name for spec in manifest.streams]
        self._fingerprint = manifest.fingerprint(config.data.train_split)

    def trained(self, settings: list[str], seed: int) -> pathlib.Path:
        """The folder of the model of these settings and seed, trained if it was not yet.

        Args:
          settings: ``section.field=value`` that act in training.
          seed: of weights, order and sampling.
        """
        config = with_overrides(self._config, settings)
        common = [seed, self._precision, self._fingerprint]
        folder = self._folder / "models" / f"{digest([config.to_dict(), *common])}_seed{seed}"
        finished = folder / "in_the_bank"
        if finished.exists():
            return folder
        shared = {
            module_folder(folder, stream, module): self._folder
            / "modules"
            / f"{stream}_{module}_{digest([module_settings(config, module), *common])}"
            for stream in self._streams
            for module in MODULES
        }
        for own, kept in shared.items():
            if kept.exists() and not own.exists():
                _link(kept, own)
        bar = ProgressBar()
        train(
            data_dir=self._data_dir,
            model_dir=folder,
            config=config,
            seed=seed,
            precision=self._precision,
            progress=bar.update,
            report=bar.report,
        )
        bar.end()
        for own, kept in shared.items():
            if not kept.exists():
                _link(own, kept)
        finished.touch()
        return folder


def module_settings(config: Config, module: str) -> dict[str, object]:
    """The settings that a module's weights depend on."""
    return {
        name: value
        for name, value in flatten(config.to_dict()).items()
        if name not in INFERENCE_SETTINGS
        and name not in ("preset", *_WATCHING)
        and not name.startswith(_FOREIGN[module])
    }


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    """A second name for each checkpoint file; TensorFlow replaces files, it never changes them."""
    with replaced(target) as temporary:
        shutil.copytree(source, temporary, copy_function=os.link)

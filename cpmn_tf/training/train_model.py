"""Training all streams' modules, one after another."""

import contextlib
import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from cpmn_tf.config import Config, with_settings
from cpmn_tf.config import preset as preset_named
from cpmn_tf.data.pipeline import Split
from cpmn_tf.errors import UserError
from cpmn_tf.files import alone_in
from cpmn_tf.training import parallel
from cpmn_tf.training.distribution import open_distribution
from cpmn_tf.training.events import EventWriter
from cpmn_tf.training.loop import ModuleTrainer, Runtime
from cpmn_tf.training.model_folder import FILE, ModelManifest, module_folder, modules_of
from cpmn_tf.training.resolve import resolve
from cpmn_tf.training.step import is_emulated
from cpmn_tf.training.validation import Validator

TENSORBOARD = "tensorboard"  # folder of the event files


def train(
    *,
    data_dir: str | os.PathLike,
    model_dir: str | os.PathLike,
    preset: str = "thumos14",
    settings: Mapping[str, Any] | None = None,
    config: Config | None = None,
    split: str = "",
    validation_split: str = "",
    streams: Sequence[str] = (),
    seed: int = 0,
    precision: str = "float32",
    xla: bool = False,
    strategy: str = "default",
    devices: Sequence[str] = (),
    streams_in_parallel: bool = False,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str, int, int, dict[str, float]], None] = lambda *_: None,
    report: Callable[[str], None] = lambda _: None,
) -> ModelManifest:
    """Trains every stream's cascade and pyramid; takes up what was begun in ``model_dir``.

    Args:
      data_dir: data set of `cpmn-build-records`.
      model_dir: for weights, ``model.json`` and TensorBoard; made if it is not there.
      preset: settings to start from, one of :data:`cpmn_tf.config.PRESETS`.
      settings: what differs, such as ``{"training.epochs": 5}``.
      config: all settings, instead of ``preset``.
      split: to train on; the configuration's by default.
      validation_split: to validate on; by default ``training.validation_fraction`` of ``split``.
      streams: to train in this call, by name; all by default. The others are left as they are, for
        another call (or another machine that shares the folder).
      seed: of weights, order and sampling.
      precision: of the convolutions: ``float32``, ``mixed_float16`` or ``mixed_bfloat16``.
      xla: compile the steps with XLA.
      strategy: ``default``, one device; ``mirrored``, all devices of this process share each batch;
        or ``multi_worker``, those of all processes that TF_CONFIG names. Both, and ``devices``,
        must be chosen before TensorFlow computes anything in this process.
      devices: such as ``gpu:0``; by default every GPU, or the processor if there is none.
      streams_in_parallel: train independent modules at the same time, each in a process of its own
        on one of ``devices``, to the same bits.
      stop, progress: see :class:`~cpmn_tf.training.loop.Runtime`.
      report: called with lines worth showing.

    Returns:
      What ``model.json`` says of the model; :func:`load_model` loads it.

    Raises:
      UserError: if a setting is wrong, the data cannot be read, the folder is of another model, or
        another worker or process fails.
      Interrupted: if ``stop`` asked for it; the state was saved.
    """
    config = with_settings(config or preset_named(preset), settings or {})
    if streams_in_parallel:
        if strategy != "default":
            raise UserError(
                f"`strategy={strategy}` and `streams_in_parallel=True` both divide the devices; "
                "give one of them"
            )
        devices = devices or parallel.places()
        distribution = open_distribution(devices=["cpu:0"])  # GPUs are left to the processes
    else:
        distribution = open_distribution(strategy, devices)
    name = split or config.data.train_split
    with distribution.together():
        distribution.check(config)
        whole = Split.open(data_dir, name)
        data = whole.manifest
        held_out: Split | None
        if validation_split:
            if config.training.validation_fraction:
                raise UserError(
                    f"`validation_split={validation_split}`: training.validation_fraction="
                    f"{config.training.validation_fraction} holds videos out already; give one of "
                    "them"
                )
            training, held_out = whole, Split.open(data_dir, validation_split)
        else:
            training, held_out = whole.hold_out(config.training.validation_fraction)
        config = resolve(config, training.lengths, data.rate)
        manifest = ModelManifest(
            config=config,
            streams={spec.name: spec.width for spec in data.streams},
            classes=data.classes,
            seed=seed,
            precision=precision,
            train_split=name,
            validation_split=validation_split,
            fingerprint=data.fingerprint(name),
            contents=whole.contents(),
            encoder=data.source.get("encoder", {}),
        )
        manifest.check_streams(streams)
        if distribution.writes:
            manifest.claim(model_dir)
    with distribution.together():
        if not distribution.writes:  # the folder is claimed by now
            if not (pathlib.Path(model_dir) / FILE).is_file():
                raise UserError(
                    f"{model_dir}: the workers see different folders, here it holds no {FILE}; "
                    "give all of them a folder that they share"
                )
            manifest.claim(model_dir)
    if not distribution.writes:  # one worker tells of all

        def progress(*_: Any) -> None:
            pass

        def report(_: str) -> None:
            pass

    if distribution.replicas > 1:
        report(f"{distribution.replicas} devices share each batch")
    if data.simulated:
        report(f"{data_dir}: features are SIMULATED")
    if is_emulated(precision):
        report(
            f"precision {precision}: this processor has no instruction for it, and is several "
            "times faster in float32"
        )
    how = {"seed": seed, "precision": precision, "xla": xla, "distribution": distribution}
    work = functools.partial(
        _train_modules, pathlib.Path(model_dir), config, training, held_out, how
    )
    branches = list(streams or manifest.branches)
    modules = modules_of(config)
    hooks: dict[str, Any] = {"stop": stop, "progress": progress, "report": report}
    if not streams_in_parallel:
        for stream in branches:
            work(parallel.Job(stream, modules), **hooks)
        return manifest
    # What is seen of a pyramid is seen together with its cascade as trained.
    alone = held_out is None and not config.training.pictures
    parts = [(module,) for module in modules] if alone else [modules]
    jobs = [parallel.Job(stream, part) for part in parts for stream in branches]
    parallel.run_jobs(work, jobs, devices, **hooks)
    return manifest


def _train_modules(
    model_dir: pathlib.Path,
    config: Config,
    training: Split,
    held_out: Split | None,
    how: Mapping[str, Any],
    job: parallel.Job,
    stop: Callable[[], bool],
    progress: Callable[[str, int, int, dict[str, float]], None],
    report: Callable[[str], None],
) -> None:
    """Trains modules of a stream, one after another; looks at them if the cascade is among them."""
    runtime = Runtime(**how, stop=stop, progress=progress)
    validate = Validator(config=config, stream=job.stream, training=training, held_out=held_out)
    modules: dict[str, keras.Model] = {}
    distribution = runtime.distribution
    for module in job.modules:
        folder = module_folder(model_dir, job.stream, module)
        with contextlib.ExitStack() as stack:
            with distribution.together():
                if distribution.writes:  # from before its checkpoints are read
                    stack.enter_context(alone_in(folder))
            trainer = ModuleTrainer(
                module=module,
                stream=job.stream,
                split=training,
                config=config,
                folder=folder,
                events_dir=model_dir / TENSORBOARD / f"{job.stream}_{module}",
                runtime=runtime,
            )
            modules[module] = trainer.model
            if "cascade" in modules:
                _run(trainer, functools.partial(validate, modules), report)
            else:
                _run(trainer, lambda *_: {}, report)


def _run(
    trainer: ModuleTrainer,
    validate: Callable[[EventWriter, int], dict[str, float]],
    report: Callable[[str], None],
) -> None:
    """Trains a module to the end, and reports what there is to say of it."""
    if trainer.finished:
        report(f"{trainer.label}: finished before ({trainer.steps} steps)")
    elif trainer.step:
        report(f"{trainer.label}: goes on after step {trainer.step}{trainer.change_of_devices}")

    def on_epoch(events: EventWriter, epoch: int, step: int) -> None:
        if values := validate(events, step):
            shown = "  ".join(f"{k.partition('/')[2]} {v:.3f}" for k, v in values.items())
            report(f"{trainer.label}: epoch {epoch}: {shown}")

    trainer.run(on_epoch)

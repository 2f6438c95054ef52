"""`make video-demo`: from pixels to detections, on SYNTHETIC videos that it draws itself.

Draws short clips of one action each and trains two small networks on them, one on RGB and one on
optical flow, told only each clip's action. With these it encodes untrimmed videos, trains CPMN,
told only which actions each video holds, and localizes by RGB alone, by flow alone and by both.
Three of the six actions are told by motion alone and three by colour alone.

Needs the extra `[video]`. What an earlier run finished is not done again.
"""

import pathlib
import statistics
import sys
import time
from collections.abc import Iterator

import numpy as np

from cpmn_tf.commands import cli
from cpmn_tf.files import read_json, replaced, write_json
from experiments.demo import run_steps
from experiments.synthetic_videos import (
    ACTIONS,
    MOTIONS,
    Part,
    instances,
    untrimmed,
    write_video,
)

UNIT_FRAMES = 5
FLOW_FRAMES = 5
SIZE = 64  # pixels that the networks see
CLIPS = 12  # of each action, and of none
EPOCHS = 20  # of the networks
VIDEOS = {"training": 60, "testing": 24}
STREAMS = {"RGB alone": "rgb", "flow alone": "flow", "both": "rgb,flow"}


def define_flags(values: cli.Flags) -> None:
    """The demo's only flag."""
    values.string("output_dir", "Folder for all that the demo makes.", default="runs/video-demo")


def draw(out: pathlib.Path) -> None:
    """Draws clips and untrimmed videos, and writes the annotations of these."""
    rng = np.random.default_rng(0)
    with replaced(out / "videos") as folder:
        (folder / "clips").mkdir(parents=True)
        for label, action in enumerate((*ACTIONS, None)):
            for number in range(CLIPS):
                path = folder / "clips" / f"{label}_{number:02d}.mp4"
                write_video(path, [Part(action, 3.0)], rng)
        database = {}
        for subset, count in VIDEOS.items():
            (folder / subset).mkdir()
            for number in range(count):
                name, parts = f"{subset}_{number:02d}", untrimmed(rng)
                write_video(folder / subset / f"{name}.mp4", parts, rng)
                database[name] = {"subset": subset, "annotations": instances(parts)}
        write_json(folder / "annotations.json", {"database": database, "classes": list(ACTIONS)})


class _Pixels:
    """What a network will see, as features: each image, flattened."""

    def __init__(self, channels: int):
        self.size, self.channels, self.width = SIZE, channels, SIZE * SIZE * channels

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1).astype(np.float32)

    def describe(self) -> dict:
        return {"name": "pixels"}


def train_networks(out: pathlib.Path) -> None:
    """Trains a network of each stream on the clips' units, each with its clip's label."""
    import keras

    from cpmn_tf.encoding.encode import EncodingSettings, encode

    clips = {path.stem: path for path in sorted((out / "videos" / "clips").glob("*.mp4"))}
    pixels = {"rgb": _Pixels(3), "flow": _Pixels(2 * FLOW_FRAMES)}
    found = list(encode(clips, pixels, EncodingSettings(unit_frames=UNIT_FRAMES)))
    with replaced(out / "networks") as folder:
        folder.mkdir()
        for name, stream in pixels.items():
            shape = (-1, SIZE, SIZE, stream.channels)
            images = np.concatenate([video.features[name].reshape(shape) for video in found])
            units = [len(video.features[name]) for video in found]
            labels = np.repeat([int(video.id.split("_")[0]) for video in found], units)
            keras.utils.set_random_seed(0)
            network = small_network(stream.channels)
            network.fit(images, labels, batch_size=32, epochs=EPOCHS, verbose=0)
            accuracy = network.evaluate(images, labels, verbose=0)[1]
            print(f"    {name}: {100 * accuracy:.0f} % of the clips' units right", flush=True)
            network.save(folder / f"{name}.keras")


def small_network(channels: int):
    """Three convolutions; its output is a score per action, the last for none."""
    import keras
    from keras import layers

    images = keras.Input((SIZE, SIZE, channels))
    x = layers.Rescaling(1 / 64, -2.0)(images)
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dropout(0.5)(layers.GlobalMaxPooling2D()(x))
    network = keras.Model(images, layers.Dense(len(ACTIONS) + 1, name="fc-action")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return network


def steps() -> Iterator[tuple[str, str, str]]:
    """What each step does, what it makes, and its command; OUT is the demo's folder."""
    yield (
        "Encode: each 5 frames become a unit, the centre frame and the flow around it",
        "encoded",
        "cpmn-encode --videos=OUT/videos/training,OUT/videos/testing --output_dir=OUT/encoded "
        f"--unit_frames={UNIT_FRAMES} --encoder=OUT/networks/{{stream}}.keras",
    )
    yield (
        "Build records",
        "records",
        "cpmn-build-records --source=folders --features_dir=OUT/encoded/features "
        "--annotations=OUT/videos/annotations.json --video_info=OUT/encoded/videos.csv "
        f"--unit_frames={UNIT_FRAMES} --output_dir=OUT/records",
    )
    inputs = "--data_dir=OUT/records --model_dir=OUT/model"
    yield (
        "Train, told only which actions each video holds",
        "model",
        f"cpmn-train {inputs} --preset=plus --set=data.fusion=separate --set=training.updates=240",
    )
    for name, streams in STREAMS.items():
        detections = f"{streams.replace(',', '_')}.json"
        command = f"cpmn-localize {inputs} --streams={streams} --output=OUT/{detections}"
        yield f"Localize: {name}", detections, command
        command = "cpmn-evaluate --protocol=activitynet --split=testing "
        command += f"--annotations=OUT/records/annotations.json --detections=OUT/{detections} "
        yield (
            f"Evaluate: {name}",
            f"metrics_{detections}",
            f"{command}--output=OUT/metrics_{detections}",
        )


def shown_video() -> tuple[str, str, str]:
    """The last step: one video from its pixels to what a person looks at."""
    return (
        "Localize in one video file, as a user would in a new one",
        "new/testing_00.json",
        "cpmn-localize --video=OUT/videos/testing/testing_00.mp4 --model_dir=OUT/model "
        "--encoder=OUT/networks/{stream}.keras --output=OUT/new/testing_00.json "
        "--annotated_video=OUT/new/testing_00.mp4",
    )


def run(values: cli.Flags) -> None:
    """Draws, trains the networks, and runs the commands."""
    start = time.monotonic()
    out = pathlib.Path(values.output_dir)
    for what, name, make in (
        ("Draw SYNTHETIC clips and videos", "videos", draw),
        ("Train the two networks on the clips", "networks", train_networks),
    ):
        print(f"\n{what} -> {out / name}", flush=True)
        if (out / name).exists():
            print("    finished before, reused", flush=True)
        else:
            make(out)
    run_steps(out, [*steps(), shown_video()])
    summarize(out, time.monotonic() - start)


def summarize(out: pathlib.Path, seconds: float) -> None:
    """Prints mAP by streams, of the actions that motion tells, that colour tells, and of all."""
    kinds = {"by motion": MOTIONS, "by colour": ACTIONS[len(MOTIONS) :], "all": ACTIONS}
    print("\nAverage mAP (%), tIoU 0.1 to 0.7, on SYNTHETIC test videos; actions that are told\n")
    print(f"{'':12s}" + "".join(f"{kind:>11s}" for kind in kinds))
    for name, streams in STREAMS.items():
        by_class = read_json(out / f"metrics_{streams.replace(',', '_')}.json")["per_class"]
        cells = (
            100 * statistics.mean(statistics.mean(by_class[action]) for action in actions)
            for actions in kinds.values()
        )
        print(f"{name:12s}" + "".join(f"{cell:11.1f}" for cell in cells))
    print(f"\npicture, subtitles and annotated video: {out / 'new'}")
    print(f"\n{seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(cli.execute("experiments.video_demo", __doc__, define_flags, run))

"""What tests share: small data sets of learnable synthetic features, and a model trained on one."""

import dataclasses
import fractions
import json
import os
import pathlib
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import pytest

# A shell starts background jobs with SIGINT ignored, and the commands tested inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

CLASSES = ("Dive", "Jump", "Throw")
STREAMS = {"rgb": 12, "flow": 8}
BESIDE = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data" / "thumos14"


def make_videos(count: int, *, seed: int = 0, lengths: tuple[int, int] = (60, 160)) -> list[dict]:
    """Videos of one class each; the class raises some channels during two instances."""
    rng = np.random.default_rng(seed)
    videos = []
    for number in range(count):
        units, label = int(rng.integers(*lengths)), number % len(CLASSES)
        starts = rng.integers(0, max(units // 2 - 15, 1), 2) + np.array([0, units // 2])
        spans = [(int(start), int(min(start + rng.integers(8, 15), units))) for start in starts]
        features = {}
        for name, width in STREAMS.items():
            values = rng.normal(size=(units, width)).astype(np.float32)
            for start, end in spans:
                values[start:end, label :: len(CLASSES)] += 2.0
            features[name] = values
        videos.append({"id": f"video_{number:03d}", "label": label, "spans": spans, **features})
    return videos


def write_data_set(
    folder: pathlib.Path, splits: dict[str, list[dict]], rate: float = 10.0, num_shards: int = 1
):
    """Writes shards, manifest and annotations of :func:`make_videos` splits."""
    from cpmn_tf.data.manifest import Manifest, StreamSpec
    from cpmn_tf.data.records import VideoRecord
    from cpmn_tf.formats.annotations import Annotations, Instance, Video, save_annotations
    from tfrecords_tools.writing import write_shards

    folder.mkdir(parents=True)
    pairs, known = [], {}
    for split, videos in splits.items():
        for video in videos:
            units, label = len(video["rgb"]), video["label"]
            segments = tuple((start / rate, end / rate) for start, end in video["spans"])
            record = VideoRecord(
                id=video["id"],
                duration=units / rate,
                rate=rate,
                labels=(label,),
                segments=tuple((start, end, label) for start, end in segments),
                features={stream: video[stream] for stream in STREAMS},
            )
            pairs.append((split, record))
            known[video["id"]] = Video(
                id=video["id"],
                subset=split,
                labels=(CLASSES[label],),
                instances=tuple(Instance(*segment, CLASSES[label]) for segment in segments),
                duration=units / rate,
            )
    streams = tuple(StreamSpec(name, width) for name, width in STREAMS.items())
    plan = Manifest(streams=streams, dtype="float16", rate=rate, classes=CLASSES, splits={})
    write_shards(folder, plan, pairs, shards=num_shards).save(folder)
    save_annotations(folder / "annotations.json", Annotations(known, CLASSES))
    return folder


SMALL = [
    "cascade.units=64",
    "cascade.filters=16",
    "pyramid.filters=16",
    "pyramid.window=32",
    "pyramid.train_stride=16",
    "pyramid.stride=32",
    "training.batch_size=4",
    "training.epochs=6",
    "training.final_epochs=2",
    "training.learning_rate=0.01",
    "training.validate_every=8",
    "data.train_split=training",
    "data.test_split=testing",
]
# Weights as training starts from them.
DRAWN = ["training.epochs=0", "training.final_epochs=0", "localization.class_threshold=0.5"]


@pytest.fixture(scope="session")
def data_set(tmp_path_factory) -> pathlib.Path:
    """A data set with 10 training and 5 testing videos."""
    videos = make_videos(15)
    folder = tmp_path_factory.mktemp("data") / "records"
    return write_data_set(folder, {"training": videos[:10], "testing": videos[10:]})


@pytest.fixture(scope="session")
def model_dir(data_set, tmp_path_factory) -> pathlib.Path:
    """A model trained on ``data_set`` through the command line."""
    from cpmn_tf.commands import train

    folder = tmp_path_factory.mktemp("model") / "model"
    arguments = [f"--data_dir={data_set}", f"--model_dir={folder}"]
    assert train.main([*arguments, *(f"--set={item}" for item in SMALL)]) == 0
    return folder


@pytest.fixture(scope="session")
def exported(model_dir, tmp_path_factory) -> pathlib.Path:
    """A folder of versions with the export of ``model_dir``, through the command line."""
    from cpmn_tf.commands import export

    folder = tmp_path_factory.mktemp("exported") / "versions"
    assert export.main([f"--model_dir={model_dir}", f"--export_dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="session")
def drawn_model_dir(data_set, tmp_path_factory) -> pathlib.Path:
    """A model folder of ``data_set`` with the weights that training starts from; quickly made."""
    from cpmn_tf.config import Config, with_overrides
    from cpmn_tf.training import train

    folder = tmp_path_factory.mktemp("drawn") / "model"
    train(data_dir=data_set, model_dir=folder, config=with_overrides(Config(), [*SMALL, *DRAWN]))
    return folder


@pytest.fixture
def small_settings() -> list[str]:
    """`--set` assignments that make training quick."""
    return list(SMALL)


@pytest.fixture(scope="session")
def dataset_writer():
    """`write_data_set` and `make_videos`, for tests that need data of their own."""
    return write_data_set, make_videos


class MeanColor:
    """A network of one stream that averages each channel of its images; counts the images given."""

    left_over: tuple[str, ...] = ()

    def __init__(self, size: int = 28, channels: int = 3):
        self.size, self.channels, self.width = size, channels, channels
        self.given: list[int] = []

    def __call__(self, images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (self.size, self.size, self.channels)
        self.given.append(len(images))
        return images.mean((1, 2), dtype=np.float32)

    def describe(self) -> dict:
        return {"name": "mean color", "size": self.size, "channels": self.channels}


@pytest.fixture
def mean_color() -> type[MeanColor]:
    """A network for tests of encoding."""
    return MeanColor


@pytest.fixture(scope="session")
def video_writer():
    """A function that writes a video file."""
    av = pytest.importorskip("av")

    def write(
        path: pathlib.Path,
        images,
        *,
        fps=10,
        stamps=None,
        codec="ffv1",
        pix_fmt="bgr0",
        rotation=0,
        options=None,
        **container,
    ) -> pathlib.Path:
        """Writes uint8 images [height, width, 3] (RGB) or [height, width]; lossless by default.

        Args:
          path: of the file, whose ending says the container.
          images: the pictures.
          fps: frames per second.
          stamps: milliseconds of each picture, instead of a constant rate.
          codec, pix_fmt, rotation, options: of the stream.
          container: options of `av.open`.
        """
        with av.open(str(path), "w", **container) as file:
            stream = file.add_stream(codec, rate=fps, options=options or {})
            stream.height, stream.width = images[0].shape[:2]
            stream.pix_fmt = pix_fmt
            if rotation:
                stream.set_display_rotation(rotation)
            if stamps is not None:
                stream.codec_context.time_base = fractions.Fraction(1, 1000)
            for number, image in enumerate(images):
                form = "rgb24" if image.ndim == 3 else "gray"
                frame = av.VideoFrame.from_ndarray(image, format=form)
                frame.pts = number if stamps is None else stamps[number]
                frame.time_base = 1 / fractions.Fraction(fps)
                if stamps is not None:
                    frame.time_base = fractions.Fraction(1, 1000)
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        return path

    return write


def write_encoder(folder: pathlib.Path, seed: int = 0) -> str:
    """Saves a small Keras network for each stream; the name that ``--encoder`` takes."""
    import keras

    folder.mkdir()
    for stream, channels in (("rgb", 3), ("flow", 4)):
        keras.utils.set_random_seed(seed)
        images = keras.Input((28, 28, channels))
        x = keras.layers.Flatten()(keras.layers.AveragePooling2D(7)(images))
        network = keras.Model(images, keras.layers.Dense(6)(keras.layers.Rescaling(1 / 64)(x)))
        network.save(folder / f"{stream}.keras")
    return str(folder / "{stream}.keras")


@pytest.fixture(scope="session")
def encoder_writer():
    """`write_encoder`."""
    return write_encoder


@dataclasses.dataclass(frozen=True)
class OfVideos:
    """Videos, and all that is made of them: ``encoder`` is what ``--encoder`` takes."""

    videos: pathlib.Path
    encoder: str
    encoded: pathlib.Path
    records: pathlib.Path
    model: pathlib.Path


@pytest.fixture(scope="session")
def of_videos(video_writer, tmp_path_factory) -> OfVideos:
    """Four videos of 60 frames at 10 per second, encoded, and a model with drawn weights."""
    pytest.importorskip("cv2")
    from cpmn_tf.commands import encode
    from cpmn_tf.config import Config, with_overrides
    from cpmn_tf.training import train
    from tfrecords_tools.commands import build_records

    out = tmp_path_factory.mktemp("videos")
    made = OfVideos(
        videos=out / "videos",
        encoder=write_encoder(out / "networks"),
        encoded=out / "encoded",
        records=out / "records",
        model=out / "model",
    )
    made.videos.mkdir()
    database = {}
    for number in range(4):
        rng = np.random.default_rng(number)
        noise = rng.integers(0, 255, (40, 60, 3), np.uint8)
        steps = np.cumsum(rng.integers(-3, 4, 60))
        video_writer(made.videos / f"clip {number}.mkv", [np.roll(noise, k, 1) for k in steps])
        database[f"clip {number}"] = {
            "subset": ("training", "testing")[number % 2],
            "annotations": [{"label": ("Dive", "Jump")[number // 2], "segment": [1, 3]}],
        }
    (out / "labels.json").write_text(json.dumps({"database": database}))
    flags = [f"--videos={made.videos}", f"--output_dir={made.encoded}", f"--encoder={made.encoder}"]
    assert encode.main([*flags, "--unit_frames=2", "--flow_frames=2"]) == 0
    flags = [f"--features_dir={made.encoded / 'features'}", f"--output_dir={made.records}"]
    flags += [f"--annotations={out / 'labels.json'}", "--dtype=float32", "--unit_frames=2"]
    flags += [f"--video_info={made.encoded / 'videos.csv'}", "--source=folders"]
    assert build_records.main(flags) == 0
    config = with_overrides(Config(), [*SMALL, *DRAWN])
    train(data_dir=made.records, model_dir=made.model, config=config)
    return made


@pytest.fixture(scope="session")
def real_videos() -> pathlib.Path:
    """The folder of two real clips, beside the repository."""
    folder = BESIDE.parent / "videos"
    if not folder.is_dir():
        pytest.skip("the real clips are not here")
    return folder


def thumos14_dir() -> pathlib.Path | None:
    """The folder that ``CPMN_THUMOS14_DIR`` names, else the one beside the repository, else None.

    Raises:
      NotADirectoryError: for a ``CPMN_THUMOS14_DIR`` that is no folder.
    """
    named = os.environ.get("CPMN_THUMOS14_DIR")
    if named and not os.path.isdir(named):
        raise NotADirectoryError(f"CPMN_THUMOS14_DIR={named} is not a folder")
    if named:
        return pathlib.Path(named)
    return BESIDE if BESIDE.is_dir() else None


@pytest.fixture(scope="session")
def thumos14() -> pathlib.Path:
    """THUMOS14's annotations and STPN's published detections, which are not ours to pass on."""
    folder = thumos14_dir()
    if folder is None:
        pytest.skip("THUMOS14's files are not here; CPMN_THUMOS14_DIR names their folder")
    return folder

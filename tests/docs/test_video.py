"""The commands of the page about videos: those of the caffemodels run, the others' flags are there.

The caffemodels are generated, in true size and with the `BN` of four blobs of TSN's fork; videos
are a few units long.
"""

import functools
import importlib
import importlib.util
import pathlib
import re
import shlex
import types

import numpy as np
import pytest

from cpmn_tf.commands import cli
from cpmn_tf.data.manifest import Manifest
from cpmn_tf.files import file_sha256, read_json, write_json
from cpmn_tf.formats.detections import load_detections

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "video.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```console (\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
MODULES = dict(re.findall(r'"(cpmn-[\w-]+)": "([\w.]+)"', (ROOT / "setup.py").read_text()))
FEW = ("epochs=1", "final_epochs=1", "updates=1", "pictures=0")
UNITS = 2  # of each video, and some frames more


def commands(name: str) -> list[tuple[str, list[str]]]:
    """Each command of a block with its arguments."""
    lines = BLOCKS[name].replace("\\\n", " ").splitlines()
    return [(program, arguments) for program, *arguments in map(shlex.split, lines)]


def save_caffemodel(path: pathlib.Path, channels: int, seed: int) -> None:
    """BN-Inception as TSN publishes it: the writer's, with its two normalization layers in one."""
    source = ROOT / "tests" / "encoding" / "conftest.py"
    spec = importlib.util.spec_from_file_location("caffe_writer", source)
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    net = writer.bn_inception_net(channels, seed)
    blobs, kinds = {}, {}
    for name, arrays in net.blobs.items():
        if net.types[name] == "Scale":
            continue
        kinds[name] = net.types[name]
        if kinds[name] == "BatchNorm":
            kinds[name], (mean, variance, factor) = "BN", arrays
            arrays = [*net.blobs[name.replace("bn", "scale", 1)], mean / factor, variance / factor]
            arrays = [array.reshape(1, -1, 1, 1) for array in arrays]
        blobs[name] = arrays
    writer.write_caffemodel(path, blobs, kinds)


@pytest.fixture
def quick_flow(monkeypatch):
    """TV-L1 of few iterations: the whole of it takes seconds for a pair of frames."""
    optflow = pytest.importorskip("cv2").optflow
    create = optflow.DualTVL1OpticalFlow.create
    few = functools.partial(create, nscales=2, warps=1, innnerIterations=5, outerIterations=1)
    monkeypatch.setattr(optflow, "DualTVL1OpticalFlow", types.SimpleNamespace(create=few))


@pytest.fixture
def here(tmp_path, monkeypatch, video_writer, quick_flow):
    """The files that the page speaks of: videos of a moving texture, their labels, caffemodels."""
    (tmp_path / "clips").mkdir()
    texture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    database = {}
    for number, label in enumerate(("Jump", "Throw")):
        images = [np.roll(texture, (number + 1) * tick, axis=1) for tick in range(5 * UNITS + 1)]
        video_writer(tmp_path / "clips" / f"clip_{number}.mkv", images, fps=10)
        database[f"clip_{number}"] = {"subset": "training", "annotations": [{"label": label}]}
    images = [np.roll(texture, 3 * tick, axis=0) for tick in range(5 * UNITS)]
    options = {"codec": "libx264", "pix_fmt": "yuv420p", "options": {"qp": "0"}}
    video_writer(tmp_path / "clip.mp4", images, fps=10, **options)
    write_json(tmp_path / "labels.json", {"database": database})
    save_caffemodel(tmp_path / "tsn_rgb.caffemodel", 3, 0)
    save_caffemodel(tmp_path / "tsn_flow.caffemodel", 10, 1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_caffemodels_to_detections(here, small_settings, capsys):
    few = [*small_settings, "pyramid.levels=1", *(f"training.{setting}" for setting in FEW)]
    for program, arguments in commands("caffemodels"):
        extra = [f"--set={setting}" for setting in few] if program == "cpmn-train" else []
        assert importlib.import_module(MODULES[program]).main([*arguments, *extra]) == 0, program
    shown = capsys.readouterr().out
    assert "optical flow: tvl1, 5 frame pairs per unit" in shown
    assert "the last 1 frames are no whole unit" in shown
    made = Manifest.load("records").source["encoder"]
    assert made == read_json("model/model.json")["encoder"] == read_json("encoded/encoder.json")
    assert made["flow"] == {"method": "tvl1", "frames": {"flow": 5}, "bound": 20.0}
    for stream in ("rgb", "flow"):
        digits = file_sha256(f"tsn_{stream}.caffemodel")
        assert made["streams"][stream]["weights"] == f"sha256:{digits}"
        for number in range(2):
            features = np.load(f"encoded/features/{stream}/clip_{number}.npy")
            assert features.shape == (UNITS, 101) and np.ptp(features, axis=0).max() > 0
    written = {path.name for path in pathlib.Path("found").iterdir()}
    assert written == {f"clip.{ending}" for ending in ("json", "vtt", "srt", "png", "mp4")}
    for name in written:
        assert f"`found/{name}`" in PAGE
    found = load_detections("found/clip.json")
    assert len(found) and found.videos == ("clip",)

    # and the same from Python
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(block, names)
    again = names["detections"]
    assert [row for _, row in again.by_video()] == [row for _, row in found.by_video()]


@pytest.mark.parametrize("name", BLOCKS)
def test_every_flag_is_there(name):
    for program, arguments in commands(name):
        values = cli.Flags()
        importlib.import_module(MODULES[program]).define_flags(values)
        assert values([program, *arguments]) == [program]


def test_every_flag_of_the_text_is_there():
    known: set[str] = set()
    for program in ("cpmn-encode", "cpmn-localize"):
        values = cli.Flags()
        importlib.import_module(MODULES[program]).define_flags(values)
        known |= set(values)
    names = set(re.findall(r"`--(\w+)", PAGE))
    assert len(names) > 10 and not names - known

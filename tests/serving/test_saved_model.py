"""The SavedModel: the same detections as the model folder, without this package."""

import itertools
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf import inference
from cpmn_tf.commands import export, localize
from cpmn_tf.config import Config, with_overrides, with_settings
from cpmn_tf.data.pipeline import Split
from cpmn_tf.data.records import parse_training
from cpmn_tf.errors import UserError
from cpmn_tf.models import CPMN
from cpmn_tf.plotting import collect_curves
from cpmn_tf.serving import saved_model
from cpmn_tf.serving.saved_model import load_exported
from cpmn_tf.training import load_model, train
from cpmn_tf.training.model_folder import ModelManifest


@pytest.fixture(scope="module")
def loaded(exported):
    """What other programs load; its signatures live as long as it does."""
    return tf.saved_model.load(str(exported / "1"))


def results(path) -> dict:
    return json.loads(pathlib.Path(path).read_text())["results"]


def test_saved_model_gives_the_model_folders_detections(data_set, model_dir, exported, tmp_path):
    data = f"--data_dir={data_set}"
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    assert localize.main([data, f"--model_dir={model_dir}", f"--output={ours}"]) == 0
    assert localize.main([data, f"--saved_model={exported}", f"--output={theirs}"]) == 0
    assert any(results(ours).values())
    assert results(ours) == results(theirs)


def test_so_it_does_with_class_scores_and_other_settings(
    data_set, model_dir, tmp_path, monkeypatch
):
    settings = ["cascade.inference_erasing=per_class", "localization.fusion=raw"]
    settings += ["cascade.inference=every_unit", "localization.nms=soft"]
    monkeypatch.setattr("cpmn_tf.models.cpmn.CHUNK_UNITS", 16)
    scores = {f"video_{number:03d}": [0.2, 0.9, 0.4] for number in range(10, 15)}
    model = load_model(model_dir, dict(item.split("=") for item in settings))
    exported = load_exported(saved_model.export(model, tmp_path))
    ours, theirs = (
        inference.localize(each, data_set, class_scores=scores) for each in (model, exported)
    )
    assert len(ours) > 5
    for column in ("video", "label", "start", "end", "score"):
        assert getattr(ours, column).tolist() == getattr(theirs, column).tolist()


# W-TALC as settings, on a few updates.
WTALC = {
    "data.fusion": "early",
    "cascade.stages": 1,
    "cascade.layers": 1,
    "cascade.kernel_size": 1,
    "cascade.dropout": 0.7,
    "cascade.pooling": "top",
    "training.loss": "softmax",
    "training.coactivity": 1.0,
    "training.group_size": 2,
    "localization.attention": False,
    "localization.class_score": "logit",
    "localization.selection": "absolute",
    "localization.class_threshold": 0.0,
    "localization.thresholds": (0.5,),
    "localization.threshold_range": "min_max",
    "localization.p_act_statistic": "max",
    "localization.class_weight": 0.7,
}


def test_streams_joined_before_the_classifiers(data_set, tmp_path, small_settings):
    """From training to the export, which takes the streams by their names; W-TALC's settings."""
    few = ["training.epochs=1", "training.final_epochs=0"]
    config = with_settings(with_overrides(Config(), [*small_settings, *few]), WTALC)
    train(data_dir=data_set, model_dir=tmp_path / "model", config=config)
    model = load_model(tmp_path / "model")
    assert (model.streams, model.branches) == ({"rgb": 12, "flow": 8}, {"rgb+flow": 20})
    assert [path.name for path in (tmp_path / "model" / "streams").iterdir()] == ["rgb+flow"]
    ours = inference.localize(model, data_set)
    exported = load_exported(saved_model.export(model, tmp_path / "versions"))
    assert list(exported.streams) == ["rgb", "flow"]
    theirs = inference.localize(exported, data_set)
    assert len(ours) > 5 and ours.score.tolist() == theirs.score.tolist()
    assert ours.start.tolist() == theirs.start.tolist()
    (batch,) = itertools.islice(inference.batches(Split.open(data_set, "testing")), 1)
    curves = collect_curves(model, batch, model.manifest.classes)
    assert curves.streams == ("rgb+flow",) and list(curves.classes[0].curves) == ["rgb+flow"]
    assert list(load_model(tmp_path / "model", streams=["rgb+flow"]).streams) == ["rgb", "flow"]
    with pytest.raises(UserError, match=r"`streams=rgb`: there is no such stream; .*rgb\+flow"):
        load_model(tmp_path / "model", streams=["rgb"])


def test_it_loads_in_a_process_that_never_imports_this_package(exported, tmp_path):
    program = f"""
import sys, tensorflow as tf
model = tf.saved_model.load({str(exported / "1")!r})
inputs = dict(
    rgb=tf.random.stateless_normal([2, 90, 12], [0, 1]),
    flow=tf.random.stateless_normal([2, 90, 8], [0, 2]),
    lengths=tf.constant([90, 40]), rates=tf.constant([10.0, 10.0]))
found = model.signatures["detect"](durations=tf.constant([9.0, 4.0]), **inputs)
again = model.signatures["serving_default"](durations=tf.constant([9.0, 4.0]), **inputs)
assert (found["scores"].numpy() == again["scores"].numpy()).all()
assert found["segments"].shape[2] == 2 and found["counts"].shape == (2,)
inputs["lengths"] = tf.constant([90, 91])
faulty = model.signatures["detect"](durations=tf.constant([9.0, 4.0]), **inputs)
assert faulty["status"].numpy().tolist() == [0, 1] and not faulty["counts"][1]
assert tf.reduce_all(faulty["scores"][0, :10] == found["scores"][0, :10])
score = model.signatures["score"](**inputs)
assert score["status"].numpy().tolist() == [0, 1]
assert score["class_scores"].shape == (2, 3), score["class_scores"].shape
assert score["phi"].shape[1:] == (2, 90)
assert not [name for name in sys.modules if name.startswith(("cpmn_tf", "tfrecords_tools"))]
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)


def test_external_class_scores_through_the_export(data_set, exported, tmp_path):
    rows = "".join(f"video_{number:03d},0,0,0.9\n" for number in range(10, 15))
    (tmp_path / "scores.csv").write_text(f"video,Dive,Jump,Throw\n{rows}")
    flags = [f"--data_dir={data_set}", f"--class_scores={tmp_path / 'scores.csv'}"]
    flags += [f"--saved_model={exported}", f"--output={tmp_path / 'found.json'}"]
    assert localize.main(flags) == 0
    items = [item for video in results(tmp_path / "found.json").values() for item in video]
    assert any(item["label"] == "Throw" and item["score"] for item in items)
    # Top-2 selects another class, of probability 0.
    assert not any(item["score"] for item in items if item["label"] != "Throw")


@pytest.fixture
def graph_at_hand(exported, monkeypatch):
    """Exports write a graph at hand: for tests of what stands beside it, and where."""

    class Archive:
        def __init__(self, model, manifest_file):
            self.manifest_file = manifest_file

        def write_out(self, path, verbose):
            shutil.copytree(exported / "1", path)
            shutil.copy(self.manifest_file, pathlib.Path(path, "assets"))

    monkeypatch.setattr(saved_model, "_archive", Archive)


def test_versions_count_up_and_hold_the_manifest(model_dir, tmp_path, graph_at_hand):
    for _ in range(2):
        assert export.main([f"--model_dir={model_dir}", f"--export_dir={tmp_path}"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "batching.config"]
    manifest = json.loads((tmp_path / "2" / "assets" / "model.json").read_text())
    assert manifest["classes"] == ["Dive", "Jump", "Throw"]


def test_settings_can_be_changed_at_export_but_not_after(
    capsys, data_set, model_dir, exported, tmp_path, graph_at_hand
):
    other = tmp_path / "other"
    setting = "--set=localization.top_k=1"
    assert export.main([f"--model_dir={model_dir}", f"--export_dir={other}", setting]) == 0
    manifest = json.loads((other / "1" / "assets" / "model.json").read_text())
    assert manifest["config"]["localization"]["top_k"] == 1
    arguments = [f"--data_dir={data_set}", f"--output={tmp_path / 'd.json'}", setting]
    assert localize.main([*arguments, f"--saved_model={exported}"]) == 1
    assert "export anew" in capsys.readouterr().err
    training = "--set=training.epochs=1"
    assert export.main([f"--model_dir={model_dir}", f"--export_dir={other}", training]) == 1
    assert "acts in training only" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "saved_model.pb"])
def test_what_is_no_export_is_refused(capsys, data_set, tmp_path, content):
    if content:
        (tmp_path / content).write_bytes(b"nonsense")
    arguments = [f"--data_dir={data_set}", f"--output={tmp_path / 'd.json'}"]
    assert localize.main([*arguments, f"--saved_model={tmp_path}"]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_an_unfinished_model_is_refused(capsys, data_set, model_dir, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.json").write_text((model_dir / "model.json").read_text())
    arguments = [f"--model_dir={folder}", f"--export_dir={tmp_path / 'e'}"]
    assert export.main(arguments) == 1
    assert "run cpmn-train to its end" in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("streams", [{"class": 3}, {"rgb": 3, "RGB": 3}, {"durations": 1}])
def test_an_older_models_streams_that_no_graph_takes(tmp_path, streams):
    with pytest.raises(UserError, match="a model's graph"):
        saved_model.export(types.SimpleNamespace(streams=streams), tmp_path / "export")
    assert not (tmp_path / "export").exists()


@pytest.fixture(scope="module")
def drawn(drawn_model_dir):
    return load_model(drawn_model_dir)


def test_score_gives_the_models_trace(model_dir, loaded):
    """Every output that the module's page names, and no other."""
    model = load_model(model_dir)
    rng = np.random.default_rng(0)
    features = {
        name: rng.normal(size=(2, 50, width)).astype(np.float32)
        for name, width in model.streams.items()
    }
    lengths, rates = tf.constant([50, 30]), tf.constant([10.0, 5.0])
    found = loaded.signatures["score"](**features, lengths=lengths, rates=rates)
    trace = model.trace(features, lengths, rates)._asdict()
    trace["grid_lengths"] = trace.pop("lengths")
    assert set(found) == set(trace)
    for name, value in trace.items():
        assert f"`{name}`" in saved_model.__doc__
        np.testing.assert_allclose(found[name].numpy(), value.numpy(), rtol=1e-4, atol=1e-5)
    detected = loaded.signatures["detect"](
        **features, lengths=lengths, rates=rates, durations=tf.constant([5.0, 6.0])
    )
    assert set(loaded.signatures) == {
        "detect",
        "detect_with_class_scores",
        "score",
        "serialized",
        "serving_default",
    }
    for name in detected:
        assert f"`{name}`" in saved_model.__doc__


def test_records_are_detected_in_like_arrays(data_set, loaded):
    """A whole shard, and what is wrong with one of its records."""
    signatures = loaded.signatures
    split = Split.open(data_set, "testing")
    shard = list(split.serialized().as_numpy_iterator())
    decoded = split.serialized().map(lambda record: parse_training(record, split.manifest))
    (batch,) = decoded.padded_batch(5)
    wanted = signatures["detect"](
        **{name: tf.cast(values, tf.float32) for name, values in batch["features"].items()},
        lengths=batch["length"],
        rates=batch["rate"],
        durations=batch["duration"],
    )
    found = signatures["serialized"](tf.constant(shard))
    assert wanted["counts"].numpy().all() and set(found) == set(wanted)
    for name, values in wanted.items():
        assert (found[name].numpy() == values.numpy()).all(), name
    names = np.array(["Dive", "Jump", "Throw", ""])[found["labels"].numpy()]
    assert (found["class_names"].numpy().astype(str) == names).all() and "" in names

    broken = tf.train.Example.FromString(shard[1])
    broken.features.feature["feature/rgb/dimensions"].int64_list.value[0] = 1 << 40
    again = signatures["serialized"](tf.constant([shard[0], broken.SerializeToString()]))
    assert again["status"].numpy().tolist() == [0, 1]
    assert again["counts"].numpy().tolist() == [found["counts"].numpy()[0], 0]
    with pytest.raises(tf.errors.InvalidArgumentError):
        signatures["serialized"](tf.constant([b"no record"]))


def test_long_videos_take_bounded_memory(tmp_path):
    """100,000 units, 77 MiB of features, at the size of `thumos14`; in a process of its own."""
    config, streams = Config(), {"rgb": 101, "flow": 101}
    classes = tuple(f"class {number}" for number in range(20))
    model = CPMN(streams=streams, num_classes=len(classes), config=config)
    model.manifest = ModelManifest(config=config, streams=streams, classes=classes)
    folder = saved_model.export(model, tmp_path)
    # Each thread has memory of its own, so that as many as a machine has cores would count.
    program = f"""
import re, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(2)
tf.config.threading.set_inter_op_parallelism_threads(2)
detect = tf.saved_model.load({str(folder)!r}).signatures["detect"]
def memory(what):
    return int(re.search(what + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1])
before = memory("VmRSS")
found = detect(
    rgb=tf.random.stateless_normal([1, 100_000, 101], [0, 1]),
    flow=tf.random.stateless_normal([1, 100_000, 101], [0, 2]),
    lengths=tf.constant([100_000]), rates=tf.constant([6.25]), durations=tf.constant([16e3]))
assert found["counts"].numpy()[0] and not found["status"].numpy()[0]
print(memory("VmHWM") - before)  # rusage has the parent's peak, too
"""
    ran = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE)
    assert int(ran.stdout) / 1024 < 600  # 295 measured; 1141 with all windows at a time


def blocks(language: str) -> list[str]:
    """Code of the page on serving."""
    page = pathlib.Path(__file__).parents[2] / "docs" / "serving.md"
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [code for named, code in found if named == language]


def test_the_command_line_of_tensorflow_shows_and_runs_it(exported, tmp_path):
    """The lines of the page on serving."""
    (tmp_path / "export").symlink_to(exported)
    (write,) = [code for code in blocks("python") if "np.savez" in code]
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(900, width)) for name, width in (("rgb", 12), ("flow", 8))}
    here = {name: values.astype(np.float16) for name, values in arrays.items()}
    exec(write.replace('"request.npz"', repr(str(tmp_path / "request.npz"))), here)
    lines = [line for code in blocks("") for line in code.replace("\\\n", "").splitlines()]
    lines = [line for line in lines if line.startswith("saved_model_cli ")]
    outputs = []
    for line in lines:
        tool = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
        ran = subprocess.run(
            [*tool, *shlex.split(line)[1:]], cwd=tmp_path, stdout=subprocess.PIPE, check=True
        )
        outputs.append(ran.stdout.decode())
    shown, said = outputs
    for name in ("detect", "detect_with_class_scores", "serialized", "score", "serving_default"):
        assert f"signature_def['{name}']" in shown
    assert "Result for output key class_names" in said
    scores, counts = (np.load(tmp_path / "answer" / f"{key}.npy") for key in ("scores", "counts"))
    assert scores.shape == (1, counts[0]) and counts[0] > 0


def test_the_newest_version_is_loaded_unless_one_is_named(drawn, tmp_path, graph_at_hand):
    for number, top_k in ((9, 1), (10, 2)):
        (tmp_path / str(number - 1)).mkdir(exist_ok=True)
        manifest = drawn.manifest.with_inference_settings({"localization.top_k": top_k})
        drawn.manifest, before = manifest, drawn.manifest
        version = saved_model.export(drawn, tmp_path)
        drawn.manifest = before
        assert version == tmp_path / str(number)
    (tmp_path / "notes").mkdir()
    newest = load_exported(tmp_path)
    assert newest.manifest.config.localization.top_k == 2  # 10 is newer than 9
    assert newest.manifest.classes == drawn.manifest.classes and newest.streams == drawn.streams
    assert load_exported(tmp_path / "9").manifest.config.localization.top_k == 1
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["10", "8", "9", "batching.config", "notes"]


def test_a_version_that_appears_meanwhile_is_not_touched(
    drawn, tmp_path, monkeypatch, graph_at_hand
):
    rename, taken = saved_model.os.rename, []

    def another_first(source, target):
        if not taken:
            taken.append(target)
            (target / "theirs").mkdir(parents=True)
        rename(source, target)

    monkeypatch.setattr(saved_model.os, "rename", another_first)
    assert saved_model.export(drawn, tmp_path) == tmp_path / "2"
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["theirs"]


def test_a_folder_that_cannot_be_written_is_named(drawn, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: cannot be written"):
        saved_model.export(drawn, tmp_path / "file")
    with pytest.raises(UserError, match=r"file/inner: cannot be written"):
        saved_model.export(drawn, tmp_path / "file" / "inner")


def test_a_failed_export_leaves_nothing_behind(drawn, tmp_path, monkeypatch, graph_at_hand):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved_model.os, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        saved_model.export(drawn, tmp_path)
    assert not list(tmp_path.iterdir())


def test_savedmodels_of_others_are_refused(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    with pytest.raises(UserError, match="is a SavedModel, but not one of cpmn-export"):
        load_exported(tmp_path / "other")
    with pytest.raises(UserError, match="holds no SavedModel; give a folder that cpmn-export made"):
        load_exported(tmp_path / "nowhere")


def test_a_broken_manifest_is_what_is_named(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "model.json").write_text("{")
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(UserError, match=r"^\S+model\.json: is not valid JSON"):
        load_exported(tmp_path)


def test_an_export_without_its_signatures_is_refused(exported, tmp_path):
    folder = shutil.copytree(exported / "1", tmp_path / "ours")
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    (folder / "saved_model.pb").write_bytes((tmp_path / "other/saved_model.pb").read_bytes())
    with pytest.raises(UserError, match=r"cannot be loaded .*export it anew"):
        load_exported(folder)
    (folder / "assets" / "model.json").write_text("{}")
    with pytest.raises(UserError, match=r"model\.json: is damaged"):
        load_exported(folder)

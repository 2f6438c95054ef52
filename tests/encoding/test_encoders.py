"""Encoders by name: what images go through, whose weights they have, and what is refused."""

import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from cpmn_tf.encoding import networks, own_network, stream_encoder
from cpmn_tf.encoding.encoders import open_encoder
from cpmn_tf.errors import UserError
from cpmn_tf.files import file_sha256


def images_of(channels: int, count: int = 2, size: int = 224) -> np.ndarray:
    shape = (count, size, size, channels)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def close(found, wanted, tolerance=1e-5):
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


@pytest.fixture(scope="module")
def random_encoder():
    return open_encoder("untrimmednet", weights="random", seed=3, num_classes=7)


@pytest.mark.parametrize("stream, backbone", [("rgb", "resnet50"), ("flow", "bn_inception")])
def test_both_streams_of_the_paper(random_encoder, stream, backbone):
    encoder = random_encoder.streams[stream]
    channels = {"rgb": 3, "flow": 10}[stream]
    assert encoder.describe() == {
        "name": "untrimmednet",
        "backbone": backbone,
        "layer": "fc-action",
        "weights": "random:3",
        "width": 7,
        "size": 224,
        "channels": channels,
    }
    images = images_of(channels)
    found = encoder(images)
    assert found.dtype == np.float32
    network = networks.BACKBONES[backbone](channels, num_classes=7)
    networks.draw(network, [3, *stream.encode()])
    given = images.astype(np.float32)
    if stream == "rgb":
        given = np.stack([given[..., 2] - 104, given[..., 1] - 117, given[..., 0] - 123], axis=-1)
    else:
        given -= 128
    close(found, network(given).numpy())
    close(encoder(images[:1]), found[:1])


@pytest.fixture(scope="module")
def caffemodel(caffe_nets, tmp_path_factory):
    """TSN's spatial network as prototxt and caffemodel."""
    return caffe_nets["bn_inception"](3).save(tmp_path_factory.mktemp("caffe"))


@pytest.fixture(scope="module")
def from_caffe(caffemodel):
    weights = {"rgb": caffemodel[1]}
    return open_encoder("untrimmednet", weights=weights, streams=["rgb"]).streams["rgb"]


def test_a_caffemodel_says_its_backbone_and_gets_blue_first(from_caffe, caffemodel):
    assert from_caffe.describe()["backbone"] == "bn_inception"  # untrimmednet's is ResNet-50
    assert from_caffe.describe()["weights"] == f"sha256:{file_sha256(caffemodel[1])}"
    assert from_caffe.left_over == ("fc-attention",)
    cv2 = pytest.importorskip("cv2")
    net = cv2.dnn.readNetFromCaffe(str(caffemodel[0]), str(caffemodel[1]))
    (image,) = images_of(3, 1)
    # OpenCV takes the mean in the order after the swap: blue, green, red.
    net.setInput(cv2.dnn.blobFromImage(image, mean=(104, 117, 123), swapRB=True))
    wanted = net.forward("fc-action")
    close(from_caffe(image[np.newaxis]), wanted, 1e-4)


def test_the_attention_score_and_other_layers_are_features_too(caffemodel):
    for layer, width, left_over in (
        ("fc-action", 101, ("fc-attention",)),
        ("fc-attention", 1, ("fc-action",)),
        ("inception_5b/output", 1024, ("fc-action", "fc-attention")),
    ):
        weights = {"rgb": caffemodel[1]}
        encoder = open_encoder("tsn", weights=weights, streams=["rgb"], layer=layer, num_classes=9)
        found = encoder.streams["rgb"]
        # The file has its own number of classes.
        assert (found.width, found.describe()["layer"]) == (width, layer)
        assert found.left_over == left_over


def test_keras_files_give_what_the_caffemodel_gave(from_caffe, caffemodel, tmp_path):
    from cpmn_tf.encoding.caffemodel import assign, read_caffemodel

    network = networks.bn_inception()
    assign(network, read_caffemodel(caffemodel[1]))
    network.save(tmp_path / "rgb.keras")
    network.save_weights(tmp_path / "rgb.weights.h5")
    images = images_of(3, 1)
    for name in ("rgb.keras", "rgb.weights.h5"):
        weights = {"rgb": tmp_path / name}
        encoder = open_encoder("tsn", weights=weights, streams=["rgb"]).streams["rgb"]
        close(encoder(images), from_caffe(images))
    with pytest.raises(UserError, match=r"rgb\.weights\.h5: cannot be loaded .*as many classes"):
        open_encoder("tsn", weights=weights, streams=["rgb"], num_classes=9)


def test_half_precision_gives_float32_near_it(random_encoder):
    options = {"weights": "random", "seed": 3, "num_classes": 7, "streams": ["flow"]}
    encoder = open_encoder("untrimmednet", precision="mixed_bfloat16", **options).streams["flow"]
    images = images_of(10, 1)
    found, wanted = encoder(images), random_encoder.streams["flow"](images)
    assert found.dtype == np.float32 and keras.config.dtype_policy().name == "float32"
    assert 0 < np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()


def test_imagenet_is_resnet50_in_both_streams(monkeypatch):
    source = keras.applications.ResNet50(weights=None)
    networks.draw(source, [0])
    monkeypatch.setattr(keras.applications, "ResNet50", lambda **options: source)
    encoder = open_encoder("untrimmednet", weights="imagenet", layer="pool5")
    rgb, flow = encoder.streams["rgb"], encoder.streams["flow"]
    assert rgb.describe()["weights"] == flow.describe()["weights"] == "imagenet"
    assert flow.describe()["backbone"] == "resnet50" and flow.channels == 10
    images = images_of(3, 1)
    given = keras.applications.resnet.preprocess_input(images.astype(np.float32))
    wanted = keras.Model(source.input, source.get_layer("avg_pool").output)(given)
    close(rgb(images), wanted.numpy(), 1e-4)


def test_an_application_takes_rgb():
    encoder = open_encoder("MobileNetV2", weights="random", streams=["rgb"]).streams["rgb"]
    assert encoder.describe() == {
        "name": "MobileNetV2",
        "backbone": "MobileNetV2",
        "layer": "output",
        "weights": "random:0",
        "width": 1280,
        "size": 224,
        "channels": 3,
    }
    found = encoder(images_of(3))
    assert np.isfinite(found).all() and np.abs(found[0] - found[1]).max() > 0


@pytest.fixture
def own(tmp_path):
    """A small network for each stream, as a Keras file and as a SavedModel."""
    for stream, channels in (("rgb", 3), ("flow", 4)):
        images = keras.Input((8, 8, channels))
        x = keras.layers.Conv2D(5, 3, name="map")(images)
        model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))
        networks.draw(model, [1])
        model.save(tmp_path / f"{stream}.keras")
        model.export(tmp_path / stream, verbose=False)
    return tmp_path


@pytest.mark.parametrize("suffix", [".keras", ""])
def test_networks_of_the_users(own, suffix):
    encoder = open_encoder(f"{own}/{{stream}}{suffix}", flow_frames=2)
    for stream, channels in (("rgb", 3), ("flow", 4)):
        images = images_of(channels, size=8)
        found = encoder.streams[stream]
        about = found.describe()
        assert (about["name"], about["width"]) == (f"{stream}{suffix}", 5)
        assert about["weights"] == f"sha256:{own_network.sha256(own / f'{stream}{suffix}')}"
        model = keras.models.load_model(own / f"{stream}.keras")
        close(found(images), model(images.astype(np.float32)).numpy())  # 0 to 255, unchanged
    if suffix:
        path = f"{own}/rgb.keras"
        encoder = open_encoder(path, layer="map", streams=["rgb"])
        assert encoder.streams["rgb"].describe()["layer"] == "map"


def test_the_sha256_of_a_folder_tells_names_and_contents(tmp_path):
    found = set()
    for name, text in (("a", "1"), ("a", "2"), ("b", "2")):
        folder = tmp_path / f"{name}{text}"
        folder.mkdir()
        (folder / name).write_text(text)
        found.add(own_network.sha256(folder))
    assert len(found) == 3


def test_more_outputs_than_one_are_refused():
    request = stream_encoder.Request(
        name="", stream="rgb", channels=3, layer="", num_classes=1, seed=0, precision=""
    )
    two = [(None, 7), (None, 1)]
    with pytest.raises(UserError, match="maps"):
        stream_encoder.check_shapes("x.keras", (None, 8, 8, 3), two, request)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("tsm", {}, "tsm: is no encoder and no file; give one of tsn, untrimmednet"),
        ("tsn", {}, "`weights`=None: is neither random nor imagenet nor files by stream"),
        ("tsn", {"weights": "imagenet"}, "tsn: there are no ImageNet weights of BN-Inception"),
        ("untrimmednet", {"weights": "imagenet"}, "fc-action: ImageNet's weights know no actions"),
        ("tsn", {"weights": {"flow": "x"}}, "`weights`: names no file for the stream rgb"),
        ("tsn", {"weights": {"rgb": "a.npz"}}, "a.npz: is none of .caffemodel, .weights.h5"),
        ("tsn", {"weights": {"rgb": "a.caffemodel"}}, "a.caffemodel: cannot be read"),
        ("tsn", {"weights": {"rgb": "a.keras"}}, "a.keras: cannot be loaded"),
        (
            "tsn",
            {"weights": {"rgb": "{own}/flow.keras"}, "streams": ["rgb"], "layer": "map"},
            "flow.keras: maps [None, 8, 8, 4] to [None, 5] where [batch, size, size, 3]",
        ),
        ("tsn", {"weights": "random", "streams": ["audio"]}, "audio is none of rgb, flow"),
        ("tsn", {"weights": "random", "precision": "half"}, "`precision`=half: is none of"),
        ("MobileNetV2", {"weights": "random", "streams": ["flow"]}, "is for RGB images"),
        ("MobileNetV2", {"weights": {"rgb": "a.weights.h5"}}, "has weights random or imagenet"),
        ("{own}/rgb.keras", {}, "is one network for several streams"),
        ("{own}/rgb.keras", {"weights": "random", "streams": ["rgb"]}, "has weights of its own"),
        ("{own}/flow.keras", {"streams": ["rgb"]}, "flow.keras: maps [None, 8, 8, 4] to [None, 5]"),
        ("{own}/flow", {"streams": ["rgb"]}, "flow: maps [None, 8, 8, 4] to [None, 5]"),
        ("{own}/rgb", {"streams": ["rgb"], "layer": "map"}, "rgb: is a graph; leave `layer`"),
        (
            "{own}/rgb.keras",
            {"streams": ["rgb"], "precision": "mixed_float16"},
            "has a precision of its own",
        ),
        ("{own}", {"streams": ["rgb"]}, "cannot be loaded"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(own, name, options, message):
    if isinstance(options.get("weights"), dict):
        files = {key: file.replace("{own}", str(own)) for key, file in options["weights"].items()}
        options = options | {"weights": files}
    with pytest.raises(UserError, match=re.escape(message)) as error:
        open_encoder(name.replace("{own}", str(own)), **options)
    assert "\n" not in str(error.value)
    assert keras.config.dtype_policy().name == "float32"


def test_graphs_of_two_tensors_are_refused(tmp_path):
    module = tf.Module()
    spec = tf.TensorSpec([None, 8, 8, 3], tf.float32)
    add = tf.function(lambda a, b: {"out": tf.reduce_mean(a + b, [1, 2])})
    signatures = add.get_concrete_function(a=spec, b=spec)
    tf.saved_model.save(module, str(tmp_path / "two"), signatures=signatures)
    with pytest.raises(UserError, match="two: must take one tensor and give one"):
        open_encoder(str(tmp_path / "two"), streams=["rgb"])


TWO_DEVICES = """
import sys, keras, numpy as np, tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from cpmn_tf.encoding.encoders import open_encoder
images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
alone = open_encoder(sys.argv[1], streams=["rgb"]).streams["rgb"]
both = open_encoder(sys.argv[1], streams=["rgb"], devices=["CPU:0", "CPU:1"]).streams["rgb"]
np.testing.assert_allclose(both(images), alone(images), rtol=1e-4, atol=1e-3)
np.testing.assert_allclose(both(images[:1]), alone(images[:1]), rtol=1e-4, atol=1e-3)
assert both.describe() == alone.describe()
for device, network in both._copies.items():
    weights = network._encode.get_concrete_function().variables
    assert weights and all(device in weight.device for weight in weights), weights
    with tf.device(device):
        assert device in network.start(images).device
"""


def test_batches_are_divided_among_devices(tmp_path):
    """In a process of its own: devices are divided before any is used."""
    images = keras.Input((8, 8, 3))
    outputs = keras.layers.Dense(4)(keras.layers.Flatten()(images))
    keras.Model(images, outputs).save(tmp_path / "net.keras")
    command = [sys.executable, "-c", TWO_DEVICES, str(tmp_path / "net.keras")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(UserError, match="`devices`: there is no GPU:7; there are CPU:0"):
        open_encoder("tsn", weights="random", devices=["CPU:0", "GPU:7"])

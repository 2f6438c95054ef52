"""BN-Inception and ResNet-50 against OpenCV's importer of Caffe models, and published counts."""

import keras
import numpy as np
import pytest

from cpmn_tf.encoding import networks
from cpmn_tf.encoding.caffemodel import assign, read_caffemodel
from cpmn_tf.errors import UserError


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_parameters_of_bn_inception_are_the_published_ones():
    """11,295,240 with 1000 classes (Cadene's and osmr's BN-Inception), statistics not counted."""
    assert trainable(networks.bn_inception(num_classes=1000)) == 11_295_240
    # The first convolution has 64 filters of 7·7 for each of 7 more channels; the head 899
    # outputs less, of 1024 inputs and a bias.
    flow = networks.bn_inception(10, num_classes=101)
    assert trainable(flow) == 11_295_240 + 7 * 49 * 64 - 899 * 1025


def test_parameters_of_resnet50_are_the_published_ones():
    """25,636,712 in keras.applications; 25,557,032 in torchvision, which counts neither statistics
    (2 for each of 26,560 normalized channels) nor convolutions' biases (1 for each of them)."""
    model = networks.resnet50(num_classes=1000)
    assert model.count_params() == 25_636_712
    assert model.count_params() - 2 * 26_560 - 26_560 == 25_557_032
    normalized = sum(
        layer.gamma.shape[0]
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    )
    assert normalized == 26_560


def compared(net, model, tmp_path, size=224, channels=3):
    """Layer -> largest difference to OpenCV's, relative to the largest value."""
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("this OpenCV has no importer for Caffe; 4.x has it")
    prototxt, path = net.save(tmp_path)
    reference = cv2.dnn.readNetFromCaffe(str(prototxt), str(path))
    reference.enableFusion(False)  # so that each layer keeps an output of its own
    assert set(assign(model, read_caffemodel(path), path)) <= {"fc-attention"}
    # BatchNorm and Scale are one layer here, and OpenCV's own output of the former is not ours.
    known = [layer.name for layer in model.layers]
    names = [
        name
        for name, kind in net.types.items()
        if networks.keras_name(name) in known and kind != "BatchNorm"
    ]
    images = np.random.default_rng(1).integers(-128, 128, (1, size, size, channels))
    images = images.astype(np.float32)
    reference.setInput(images.transpose(0, 3, 1, 2))
    wanted = reference.forward(names)
    outputs = [model.get_layer(networks.keras_name(name)).output for name in names]
    found = keras.Model(model.input, outputs).predict_on_batch(images)
    errors = {}
    for name, ours, theirs in zip(names, found, wanted, strict=True):
        if ours.ndim == 4:
            theirs = theirs.transpose(0, 2, 3, 1)
        theirs = theirs.reshape(ours.shape) if ours.ndim == 2 else theirs
        assert ours.shape == theirs.shape, name
        errors[name] = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    return errors


@pytest.mark.parametrize("channels", [3, 10])
def test_bn_inception_is_what_opencv_computes_layer_by_layer(caffe_nets, channels, tmp_path):
    net = caffe_nets["bn_inception"](channels)
    model = networks.bn_inception(channels, attention=True)
    errors = compared(net, model, tmp_path, channels=channels)
    # 69 convolutions and their ReLUs, 10 modules' outputs and pools, 2 pools, the mean, 2 heads.
    assert len(errors) == 2 * 69 + 20 + 2 + 1 + 2
    assert max(errors.values()) < 1e-4, max(errors, key=errors.get)


# 112 and 38 end a pool's last window beyond the edge, 39 does not.
@pytest.mark.parametrize("size", [224, 75, 77])
def test_resnet50_is_what_opencv_computes_layer_by_layer(caffe_nets, size, tmp_path):
    net = caffe_nets["resnet50"](size)
    errors = compared(net, networks.resnet50(size=size), tmp_path, size)
    # 53 convolutions, 1 + 32 ReLUs inside and 16 after blocks, 16 sums, 2 pools, the head.
    assert len(errors) == 53 + 33 + 16 + 16 + 2 + 1
    assert max(errors.values()) < 1e-4, max(errors, key=errors.get)


@pytest.mark.parametrize("side", [8, 9])
def test_pools_end_beyond_the_edge(side):
    """⌈(8 − 3) / 2⌉ + 1 = 4 windows, the last of 2 values; (9 − 3) / 2 + 1 = 4 whole ones."""
    values = np.random.default_rng(0).uniform(0, 1, (1, side, side, 2)).astype(np.float32)
    images = keras.Input((side, side, 2))
    found = keras.Model(images, networks._ceil_pool(images, "pool"))(values).numpy()
    starts = range(0, 8, 2)
    wanted = [[values[0, y : y + 3, x : x + 3].max(axis=(0, 1)) for x in starts] for y in starts]
    np.testing.assert_array_equal(found[0], wanted)


def test_features_of_a_map_are_its_mean():
    model = networks.bn_inception(size=64)
    networks.draw(model, [0])
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    maps = keras.Model(model.input, model.get_layer("inception_4a.output").output)(images)
    found = networks.features(model, "inception_4a/output")(images)
    assert found.shape == (2, 576)
    np.testing.assert_allclose(found, maps.numpy().mean(axis=(1, 2)), rtol=1e-5)
    with pytest.raises(UserError, match=r"inception_4a/outputs.*such as inception_4a\.output"):
        networks.features(model, "inception_4a/outputs")
    with pytest.raises(UserError, match="neither a vector nor a map"):
        networks.features(keras.Sequential([keras.Input((4, 5)), keras.layers.ReLU(name="r")]), "r")


def test_cross_modality_is_the_mean_over_rgb():
    kernel = np.arange(6.0).reshape(1, 1, 3, 2)  # filters see (0, 2, 4) and (1, 3, 5)
    assert networks.cross_modality(kernel, 4).tolist() == [[[[2.0, 3.0]] * 4]]


def test_drawn_weights_depend_on_the_seed_alone():
    images = np.random.default_rng(0).integers(-128, 128, (1, 64, 64, 3)).astype(np.float32)
    found = []
    for seed in (1, 1, 2):
        model = networks.resnet50(size=64)
        networks.draw(model, [seed])
        found.append(model(images).numpy())
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 1
    assert np.abs(found[0]).max() < 65504  # of float16, in which features are stored

"""Weights of Caffe: both forms of batch normalization, old layers, and what is wrong with files.

The real networks are compared with OpenCV in `test_networks.py`.
"""

import re

import keras
import numpy as np
import pytest

from cpmn_tf.encoding import networks
from cpmn_tf.encoding.caffemodel import assign, net_parameter, read_caffemodel
from cpmn_tf.errors import UserError

# A wire format by hand, after Caffe's schema: a net "n" with layer (100) "ip" that has one blob (7)
# of packed data (5) 1.0, 2.0 and shape (7) of dim (1) 1, 2.
BLOB = b"\x2a\x08" + np.array([1, 2], "<f4").tobytes() + b"\x3a\x04\x0a\x02\x01\x02"
LAYER = b"\x0a\x02ip\x12\x0cInnerProduct" + b"\x3a" + bytes([len(BLOB)]) + BLOB
NET = b"\x0a\x01n" + b"\xa2\x06" + bytes([len(LAYER)]) + LAYER
# The same as a V1 layer (2): name 4, type 5, blobs 6, and sides 1 to 4 instead of a shape.
OLD_BLOB = b"\x08\x01\x10\x01\x18\x01\x20\x02\x2a\x08" + np.array([1, 2], "<f4").tobytes()
OLD_LAYER = b"\x22\x02ip\x28\x0e" + b"\x32" + bytes([len(OLD_BLOB)]) + OLD_BLOB
OLD_NET = b"\x12" + bytes([len(OLD_LAYER)]) + OLD_LAYER


@pytest.mark.parametrize("data, shape", [(NET, (1, 2)), (OLD_NET, (1, 1, 1, 2))])
def test_reads_what_caffe_writes(data, shape, tmp_path):
    (tmp_path / "net.caffemodel").write_bytes(data)
    ((name, (blob,)),) = read_caffemodel(tmp_path / "net.caffemodel").items()
    assert name == "ip" and blob.shape == shape and blob.ravel().tolist() == [1, 2]


def test_reads_double_precision(tmp_path):
    net = net_parameter()
    blob = net.layer.add(name=b"ip").blobs.add(double_data=np.array([0.5, 3.0]).tobytes())
    blob.shape.dim.append(2)
    (tmp_path / "net.caffemodel").write_bytes(net.SerializeToString())
    assert read_caffemodel(tmp_path / "net.caffemodel")["ip"][0].tolist() == [0.5, 3.0]


@pytest.fixture
def small():
    """A unit of TSN's and a head, and blobs for them by Caffe's form of normalization."""
    images = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, name="conv1.3x3")(images)
    x = keras.layers.BatchNormalization(epsilon=networks.EPSILON, name="conv1.3x3_bn")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(images, keras.layers.Dense(2, name="fc-action")(x), name="small")
    rng = np.random.default_rng(0)
    blobs = {
        "conv1/3x3": [rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)],
        "conv1/3x3_bn": [rng.normal(size=4), rng.uniform(0.1, 2, 4), np.array([0.5])],
        "conv1/3x3_scale": [rng.normal(size=4), rng.normal(size=4)],
        "fc-action": [rng.normal(size=(2, 4)), rng.normal(size=2)],
    }
    return model, blobs


def reference(blobs, images):
    """The small network in NumPy, of float64: (x − μ/f) / √(σ²/f + 1e-5)·γ + β after it."""
    kernel, bias = blobs["conv1/3x3"]
    patches = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    x = np.einsum("nyxcij,ocij->nyxo", patches, kernel) + bias
    mean, variance, factor = blobs["conv1/3x3_bn"]
    gamma, beta = blobs["conv1/3x3_scale"]
    x = (x - mean / factor) / np.sqrt(variance / factor + 1e-5) * gamma + beta
    kernel, bias = blobs["fc-action"]
    return x.mean(axis=(1, 2)) @ kernel.T + bias


@pytest.mark.parametrize("form", ["BatchNorm and Scale", "BN", "BN of old files"])
def test_both_forms_of_normalization_are_what_numpy_computes(
    small, form, caffemodel_writer, tmp_path
):
    model, blobs = small
    images = np.random.default_rng(1).normal(size=(2, 6, 6, 3))
    wanted = reference(blobs, images)
    if form != "BatchNorm and Scale":
        mean, variance, factor = blobs["conv1/3x3_bn"]
        blobs["conv1/3x3_bn"] = [*blobs.pop("conv1/3x3_scale"), mean / factor, variance / factor]
    if form == "BN":  # the fork's blobs are [1, channels, 1, 1]
        blobs["conv1/3x3_bn"] = [blob.reshape(1, 4, 1, 1) for blob in blobs["conv1/3x3_bn"]]
    path = tmp_path / "net.caffemodel"
    caffemodel_writer(path, blobs, dict.fromkeys(blobs, "?"), old="old" in form)
    assert assign(model, read_caffemodel(path), path) == []
    np.testing.assert_allclose(model(images.astype(np.float32)), wanted, rtol=1e-4, atol=1e-5)


def test_a_factor_of_zero_is_that_of_a_network_without_batches(small):
    model, blobs = small
    blobs["conv1/3x3_bn"][2] = np.zeros(1)
    assign(model, blobs)
    assert model.get_layer("conv1.3x3_bn").moving_variance.numpy().tolist() == [0] * 4


def test_a_missing_bias_is_zero_and_what_is_left_over_is_named(small):
    model, blobs = small
    blobs["conv1/3x3"].pop()
    blobs["fc-attention"] = [np.ones((1, 4)), np.ones(1)]
    assert assign(model, blobs) == ["fc-attention"]
    assert not model.get_layer("conv1.3x3").bias.numpy().any()
    # Up to the pool, the head needs no weights.
    assert assign(networks.features(model, "pool"), blobs) == ["fc-action", "fc-attention"]


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"fc-action": None},
            "net.caffemodel: has no weights for 1 of 3 layers of small, such as fc-action; give",
        ),
        (
            {"fc-action": [np.ones((5, 4)), np.ones(5)]},
            "layer fc-action: is [5, 4] where the network has [2, 4]; give the `flow_frames`",
        ),
        (
            {"conv1/3x3": [np.ones((4, 10, 3, 3)), np.ones(4)]},
            "layer conv1/3x3: is [4, 10, 3, 3] where the network has [4, 3, 3, 3]",
        ),
        ({"conv1/3x3": [np.ones((4, 3, 3, 3)), np.ones(3)]}, "is [3] where the network has [4]"),
        ({"conv1/3x3_scale": None}, "layer conv1/3x3_bn: is neither BatchNorm with Scale nor BN"),
        ({"conv1/3x3_bn": [np.ones(4)] * 5}, "but has 5"),
        ({"conv1/3x3_bn": [-np.ones(4)] * 4}, "layer conv1/3x3_bn: has a negative variance"),
    ],
)
def test_weights_of_another_network_are_refused_and_change_nothing(small, change, message):
    model, blobs = small
    blobs = {name: value for name, value in (blobs | change).items() if value is not None}
    before = [weight.numpy() for weight in model.weights]
    with pytest.raises(UserError, match=re.escape(message)):
        assign(model, blobs, "net.caffemodel")
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is no caffemodel, or is cut off"),
        (NET[:-5], "is no caffemodel, or is cut off"),
        (b"", "holds no layer with weights"),
        (b"\x0a\x01n", "holds no layer with weights"),
        (NET.replace(b"\x0a\x02\x01\x02", b"\x0a\x02\x01\x03"), "layer ip: has 8 bytes for [1, 3]"),
        (NET.replace(b"\x00\x00\x80\x3f", b"\x00\x00\x80\x7f"), "layer ip: holds a weight that"),
    ],
)
def test_broken_files_are_named(data, message, tmp_path):
    (tmp_path / "net.caffemodel").write_bytes(data)
    with pytest.raises(UserError, match=rf"net\.caffemodel: {re.escape(message)}"):
        read_caffemodel(tmp_path / "net.caffemodel")
    with pytest.raises(UserError, match="absent: cannot be read"):
        read_caffemodel(tmp_path / "absent")

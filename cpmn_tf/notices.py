"""TensorFlow's import, without what it says of every machine."""

import os
import pickle
import re
import sys
import tempfile
from typing import Any

# TensorFlow's start-up notices would bury a command's own lines; errors still show.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_NOTICES = re.compile(
    "absl::InitializeLog|cudart_stub|cuda_platform|cpu_feature_guard|^To enable the"
    "|oneDNN custom operations are on|oneDNN supports DT_HALF only"
)


def load_tensorflow(compute: bool = True) -> None:
    """Imports TensorFlow and finds its devices, without its notices of what the machine has.

    They come from native code before any log level holds, several lines in every command on a
    machine without CUDA or without float16 arithmetic. Every other line is passed on.

    Args:
      compute: bring up the last of them by computing something, after which neither devices nor a
        strategy can be chosen.
    """
    sys.stderr.flush()
    descriptor = os.dup(2)
    with tempfile.TemporaryFile() as notices:
        os.dup2(notices.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
            if compute:
                tf.zeros([1], tf.float16)  # the first one brings the notice of float16
        finally:
            os.dup2(descriptor, 2)
            os.close(descriptor)
            notices.seek(0)
            for line in notices.read().decode(errors="replace").splitlines():
                if not _NOTICES.search(line):
                    print(line, file=sys.stderr)


def call_in_new_process(task: bytes, *more: Any) -> None:
    """Calls a pickled ``(function, arguments)``, whose modules may import TensorFlow, with more."""
    load_tensorflow(compute=False)
    function, arguments = pickle.loads(task)
    function(*arguments, *more)

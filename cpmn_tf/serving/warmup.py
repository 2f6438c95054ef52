"""What TensorFlow Serving finds beside a graph: requests to warm up with, and how to batch.

A server runs the requests of ``assets.extra/tf_serving_warmup_requests`` before it says that a
version is available. Writing them needs its protocol buffers, of the extra ``[serving]``.
"""

import pathlib

import numpy as np
import tensorflow as tf

from cpmn_tf.files import write_text
from cpmn_tf.models import CPMN
from cpmn_tf.serving import videos

FILE = "tf_serving_warmup_requests"
BATCHING_FILE = "batching.config"
MAX_BATCH = 8
# Units of each video in a request; no request has more videos than a batch.
REQUESTS = ((64,), (900,), (300, 200, 100, 50))

# TensorFlow Serving pads with a tensor's first value; `lengths` says what is padding.
BATCHING = f"""\
# For tensorflow_model_server --enable_batching --batching_parameters_file=...
max_batch_size {{ value: {MAX_BATCH} }}
batch_timeout_micros {{ value: 5000 }}
max_enqueued_batches {{ value: 64 }}
num_batch_threads {{ value: 2 }}
pad_variable_length_inputs: true
"""


def write(model: CPMN, folder: pathlib.Path) -> bool:
    """Writes the requests into ``folder``; False if TensorFlow Serving's messages are not here."""
    try:
        from tensorflow_serving.apis import prediction_log_pb2

        from cpmn_tf.serving.protobufs import predict_request
    except ModuleNotFoundError:
        return False
    with tf.io.TFRecordWriter(str(folder / FILE)) as writer:
        for lengths in REQUESTS:
            clips = videos.drawn(model.streams, lengths)
            records = videos.examples(clips, model.streams, model.manifest.classes)
            for signature, inputs in (
                ("detect", videos.arrays(clips, model.streams)),
                ("serialized", {"examples": np.array(records, object)}),
            ):
                request = predict_request(inputs, signature, name="")
                log = prediction_log_pb2.PredictLog(request=request)
                writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
    return True


def write_batching(export_dir: pathlib.Path) -> None:
    """Writes the parameters beside the versions, unless there are some already."""
    if not (export_dir / BATCHING_FILE).exists():
        write_text(export_dir / BATCHING_FILE, BATCHING)

"""What is wrong with a shard: from TensorFlow's error to one line that names the file."""

import re

import tensorflow as tf

from cpmn_tf.data.manifest import Manifest
from cpmn_tf.data.records import parse_with_segments
from cpmn_tf.errors import UserError

# What reading broken shards raises. TensorFlow quotes a record that it cannot parse in its message,
# and the quoted bytes need not be UTF-8.
READ_ERRORS = (tf.errors.OpError, UnicodeDecodeError)


def explain_read_error(error: Exception, manifest: Manifest, split: str) -> UserError:
    """Finds the broken shard behind an error met while a split was read; scans all its shards.

    Args:
      error: what reading or parsing raised.
      manifest: of the data set.
      split: that was read.

    Returns:
      An error that names the shard, the record's place and the video where they can be found.
    """
    try:
        paths = manifest.shard_paths(split)
    except UserError as found:
        return found
    for path, shard in zip(paths, manifest.shards(split), strict=True):
        count = 0
        dataset = tf.data.TFRecordDataset(path)
        try:
            for _ in dataset.map(lambda serialized: parse_with_segments(serialized, manifest)):
                count += 1
        except READ_ERRORS as found:
            return UserError(f"{path}: record {count} is broken ({_brief(found)}); build it anew")
        if count != shard.videos:
            return UserError(
                f"{path}: holds {count} records instead of {shard.videos}; build it anew"
            )
    return UserError(f"{manifest.folder}: split {split!r} cannot be read ({_brief(error)})")


def _brief(error: Exception) -> str:
    """TensorFlow's message without the graph's names and without what a record holds."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not a tf.train.Example"
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    message = message.rsplit("assertion failed:", 1)[-1].split("[[{{", 1)[0]
    message = re.sub(
        r"\{\{.*?\}\}|Error in user-defined.*?Iterator::\S+|, value: .*", "", message, flags=re.S
    )
    return " ".join("".join(c if c.isprintable() else " " for c in message).split())[:200]

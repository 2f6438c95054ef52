"""Training: objectives, one loop for all modules, checkpoints, TensorBoard."""

from cpmn_tf.training.model_folder import load_model
from cpmn_tf.training.train_model import train

__all__ = ["load_model", "train"]

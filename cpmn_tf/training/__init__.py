"""Training: objectives, one loop for all modules, checkpoints, TensorBoard."""

"""Why a detector errs: kinds of error, sensitivity, bootstrap, report, figure; no TensorFlow."""

"""Other people's files: annotations, detections, class scores, tables, arrays; no TensorFlow."""

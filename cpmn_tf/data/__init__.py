"""Annotations, records, sampling and input pipelines."""

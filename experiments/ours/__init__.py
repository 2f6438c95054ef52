"""Measurements of our own, one file each."""

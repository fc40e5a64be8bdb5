"""Checkpoints, copied with some of their tensors changed: one file a format."""

"""Copies of checkpoints whose filters are replaced by copies of keys, without torch."""

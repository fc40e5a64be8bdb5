"""Darknet: a ``.cfg`` with the layers and a ``.weights`` with nothing but their numbers."""

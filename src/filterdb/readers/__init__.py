"""Bytes -> ``Contents``: one module a format, chosen by content, nothing in a file ever runs."""

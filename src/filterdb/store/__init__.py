"""The database on disk: one SQLite catalogue, and a folder of immutable safetensors files.

It keeps and finds. It knows no reader and no measure: rows come as plain dictionaries whose
keys are the columns of ``schema.py``.
"""

"""Keras models: HDF5 files, read in a helper process, and ``.keras`` archives."""

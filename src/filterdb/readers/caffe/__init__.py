"""Caffe: networks as protocol buffers, read by field number."""

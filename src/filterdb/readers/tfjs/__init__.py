"""The TensorFlow.js reader: a manifest of weights in shards, and the graph or layers beside it."""

"""TensorFlow: frozen graphs, SavedModels and checkpoints, read by field number."""

"""Core ML: neural networks, and ML programs with their weights, read by field number."""

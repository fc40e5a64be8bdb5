"""ONNX graphs, parsed as protobuf and never run."""

"""ncnn: a graph in ``.param``, as text or binary, and its weights one after another in ``.bin``."""

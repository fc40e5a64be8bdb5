"""The TFLite reader: a bounded walk over the flatbuffer, the graph, and its weights."""

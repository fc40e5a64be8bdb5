"""OpenVINO: a graph in XML, and its constants at stated places in a binary file."""

"""Archives that hold a network in a format of its own."""

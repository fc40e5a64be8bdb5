"""Image sets that need no download: drawn as pure functions of a seed."""

"""Names instead of files: networks on a model hub and on the web, fetched into a cache."""

"""The published CNN Filter DB: into a database, out of one, and its tables made again."""

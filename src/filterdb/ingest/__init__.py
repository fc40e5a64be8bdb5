"""Files -> store: found, described, read in processes, and taken in whole or not at all."""

from filterdb.ingest.run import IngestedFile, IngestResult, Progress, ingest

__all__ = ["IngestResult", "IngestedFile", "Progress", "ingest"]

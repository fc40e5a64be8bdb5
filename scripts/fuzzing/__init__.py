"""Fuzzing of the readers: cases, how they are damaged, and what reading one may do."""

"""What summaries cannot answer: one pass over the payloads of a selection.

A :class:`~filterdb.scan.job.Job` says what is wanted of a layer, :func:`~filterdb.scan.run.scan`
asks it of every layer: here, in processes or on a cluster, resumable, and in memory that does not
grow with the number of filters.
"""

from filterdb.scan.executors import executor_for
from filterdb.scan.jobs import DensityJob, HistogramJob, MomentsJob, RangeJob, SummaryJob
from filterdb.scan.parts import Part, ScanLayer, split
from filterdb.scan.presets import PRESETS, PresetHistograms, preset_histograms
from filterdb.scan.run import Scanned, forget, scan

__all__ = [
    "PRESETS",
    "DensityJob",
    "HistogramJob",
    "MomentsJob",
    "Part",
    "PresetHistograms",
    "RangeJob",
    "ScanLayer",
    "Scanned",
    "SummaryJob",
    "executor_for",
    "forget",
    "preset_histograms",
    "scan",
    "split",
]

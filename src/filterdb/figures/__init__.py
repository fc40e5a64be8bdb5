"""Pictures: each function takes results or arrays and returns a ``matplotlib.figure.Figure``.

Importing this costs nothing: matplotlib (the extra ``plot``) is imported when something is drawn.
No figure belongs to pyplot, and no global setting is changed.
"""

from filterdb.figures.bases import cumulative_variance, eigenimages
from filterdb.figures.boxes import shift_boxes
from filterdb.figures.changes import changed_filters
from filterdb.figures.code_strip import code_axis
from filterdb.figures.density import coefficient_density, phenotypes
from filterdb.figures.depths import quality_by_depth
from filterdb.figures.key_cosines import key_agreement
from filterdb.figures.key_coverage import coverage_curve
from filterdb.figures.key_examples import best_and_worst
from filterdb.figures.key_shares import key_shares_by_depth, layer_bars
from filterdb.figures.key_tiles import key_mosaic
from filterdb.figures.mosaic import filter_mosaic
from filterdb.figures.ridges import ridge_plot
from filterdb.figures.saving import render, save
from filterdb.figures.shift import shift_matrix
from filterdb.figures.training import training_curves
from filterdb.figures.transfer_curves import accuracy_curves
from filterdb.figures.transfer_forest import accuracy_forest
from filterdb.figures.transfer_matrix import transfer_matrix

__all__ = [
    "accuracy_curves",
    "accuracy_forest",
    "best_and_worst",
    "changed_filters",
    "code_axis",
    "coefficient_density",
    "coverage_curve",
    "cumulative_variance",
    "eigenimages",
    "filter_mosaic",
    "key_agreement",
    "key_mosaic",
    "key_shares_by_depth",
    "layer_bars",
    "phenotypes",
    "quality_by_depth",
    "render",
    "ridge_plot",
    "save",
    "shift_boxes",
    "shift_matrix",
    "training_curves",
    "transfer_matrix",
]

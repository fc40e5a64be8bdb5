"""Labelled images for the experiments: loaded, chosen from, brought to one size. No torch.

::

    files, naming, raw     which files, names of classes, what files hold
    idx, npz, parquet, folder, pictures, builtin    one kind of source each
    load                   `load_images`, `load_splits`: any source -> `Images`
    choices, pixels, augment    classes and shares; size and channels; crops and mirror images
"""

from filterdb.transfer.data.augment import augmented, flips
from filterdb.transfer.data.builtin import BUILT_IN
from filterdb.transfer.data.choices import (
    divided,
    fraction,
    halves,
    limit,
    only,
    parse_groups,
    split_classes,
)
from filterdb.transfer.data.images import Images
from filterdb.transfer.data.load import load_images, load_splits
from filterdb.transfer.data.pixels import channels, mean_std, resized

__all__ = [
    "BUILT_IN",
    "Images",
    "augmented",
    "channels",
    "divided",
    "flips",
    "fraction",
    "halves",
    "limit",
    "load_images",
    "load_splits",
    "mean_std",
    "only",
    "parse_groups",
    "resized",
    "split_classes",
]

"""The images of the demo networks: those that :mod:`filterdb.transfer.data.drawn` draws."""

from filterdb.transfer.data.drawn.sets import IMAGE_SETS, draw

__all__ = ["IMAGE_SETS", "draw"]

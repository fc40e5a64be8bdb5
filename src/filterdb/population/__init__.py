"""What users ask of many networks at once: a selection, its basis, its shift along an axis."""

"""Array mathematics, no files: quality of a layer, the null of random filters, verdicts."""

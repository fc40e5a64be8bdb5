"""Labels: which key each filter is a copy of, kept in the catalogue."""

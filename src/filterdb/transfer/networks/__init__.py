"""Small networks to train: a table of names (no torch), and one module for each of them."""

"""Keys in PyTorch: modules that start from them, and an autoencoder that finds them.

Most modules of this folder import torch at their top, because they subclass its modules: whoever
imports them from elsewhere does so inside a function, after ``require("torch", extra="torch")``.
The front door, ``initialising.py``, does so itself, and imports without torch.
"""

"""PyTorch checkpoints, read without torch by a pickle machine that can call nothing."""

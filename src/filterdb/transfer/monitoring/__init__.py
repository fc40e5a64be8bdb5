"""Watch a training: the quality of every convolution layer and its shift, epoch by epoch."""

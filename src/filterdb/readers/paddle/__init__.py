"""PaddlePaddle: pickled parameters, and networks saved for inference."""

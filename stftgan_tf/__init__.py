"""A light WGAN of speech STFT windows; see README.md."""

import os

# TensorFlow reads this when it is first imported: without it, a machine with
# no GPU opens every command with a page about CUDA.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

"""Training: the loop, its limits, and the callbacks that run beside it."""

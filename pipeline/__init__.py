"""The steps around the training: data in, shards out; no networks."""

"""The record schema, and shards as training data."""

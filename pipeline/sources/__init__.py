"""Sources of recordings: directories, manifests, TFDS, the demo corpus."""

"""Where recordings come from: folders, manifests, TFDS, the demo corpus."""

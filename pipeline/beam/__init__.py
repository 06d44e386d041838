"""The Beam side of preprocessing: transforms, segments, statistics."""

"""The exported SavedModel: its signatures, and loading it."""

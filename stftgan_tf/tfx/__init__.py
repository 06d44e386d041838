"""The pipeline as TFX components."""

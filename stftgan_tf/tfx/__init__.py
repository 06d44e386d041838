"""The pipeline's steps as TFX components."""

"""Exports: SavedModels that turn seeds into audio."""

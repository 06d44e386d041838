"""The training loop and what runs beside it."""

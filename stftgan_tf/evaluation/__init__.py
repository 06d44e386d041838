"""Measuring an export, deciding its blessing, reporting it."""

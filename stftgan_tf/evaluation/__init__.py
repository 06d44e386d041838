"""Evaluation of exports: metrics, the blessing and the report."""

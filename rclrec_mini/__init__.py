"""Generative recommendation for sparse conversions: RCLRec, its baselines and its experiments."""

__version__ = "0.1.0"

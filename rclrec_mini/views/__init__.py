"""Figures, from results to pictures."""

"""How good the rankings are, and the naive rankings that a model has to beat."""

"""Post-training: a trained generative model learns from what it would recommend (ReRe, S-DPO)."""

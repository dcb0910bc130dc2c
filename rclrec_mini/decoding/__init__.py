"""From a model's next-token scores to ranked items of the catalogue."""

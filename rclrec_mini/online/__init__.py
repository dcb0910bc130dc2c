"""An A/B test in the simulated shop: what people do with what they are shown, and what one can learn of it."""

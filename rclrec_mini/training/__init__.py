"""The loop that trains every model, and checkpoints that survive a kill."""

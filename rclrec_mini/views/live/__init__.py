"""Trained models that live in a page: their export, the JavaScript that answers from it, and the same in Python."""

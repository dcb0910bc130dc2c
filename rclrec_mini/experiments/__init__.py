"""Trains methods and compares them: materials, methods, presets, one run, studies of many, reports."""

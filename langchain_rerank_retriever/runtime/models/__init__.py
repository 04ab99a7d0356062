"""Loads a model, and knows which one it is."""

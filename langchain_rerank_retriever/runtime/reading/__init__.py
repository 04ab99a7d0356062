"""Texts and pairs to what a model reads."""

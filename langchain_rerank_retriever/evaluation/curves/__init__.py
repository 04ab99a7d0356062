"""Curves from one run: quality against depth and latency, and how true the probabilities are."""

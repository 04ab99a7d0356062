"""Data to trained encoders, with the trainers and losses of sentence-transformers."""

"""Lexical search: texts to the terms of SQLite's FTS5, and terms to documents by BM25."""

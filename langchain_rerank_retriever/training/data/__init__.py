"""The user's own data: read, checked row by row, split."""

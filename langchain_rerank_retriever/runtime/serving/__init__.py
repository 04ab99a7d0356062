"""One thread a model: who waits for it, whose turn it is, what shares a batch."""

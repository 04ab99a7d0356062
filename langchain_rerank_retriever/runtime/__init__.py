"""How a model runs fast and safely: a worker thread each, batches by token budget, backends of one shape."""

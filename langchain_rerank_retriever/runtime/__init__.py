"""How a model runs fast and safely: one worker thread a model, batches by token budget, backends behind one shape."""

"""Which backend runs a model here, and how: asked for, or measured once and kept."""

"""Pictures of evaluations. matplotlib is imported when something is drawn."""

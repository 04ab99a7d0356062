"""How one query is answered once it is recalled: what it asks for, scores, order, what is returned."""

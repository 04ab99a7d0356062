"""Who lost the document: what became of every relevant document that is missed, and what that costs."""

"""How fast a retriever is on this machine: by stage, by the machine's own limit, and next to LangChain's recipe."""

"""The command `langchain-rerank`."""

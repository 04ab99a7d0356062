"""The user's own data: read, checked row by row, looked over, split, and made where there are none."""

from langchain_rerank_retriever.training.data.card import DataCard, data_card
from langchain_rerank_retriever.training.data.generate import GeneratedQueries, generate_queries
from langchain_rerank_retriever.training.data.weak import WeakPairs, weak_pairs

__all__ = ["DataCard", "GeneratedQueries", "WeakPairs", "data_card", "generate_queries", "weak_pairs"]

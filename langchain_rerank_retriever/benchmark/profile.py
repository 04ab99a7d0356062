"""The profile of a retriever on the machine it runs on."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from langchain_rerank_retriever.benchmark.against import Compared, against_recipe, recipe_for
from langchain_rerank_retriever.benchmark.parts import Sample, ask, checked_parts
from langchain_rerank_retriever.benchmark.speed import ModelSpeed, model_speed
from langchain_rerank_retriever.benchmark.timing import percentiles_ms
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.runtime.choosing.machine import processor

Report = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Profile:
    """What a retriever does in how much time on this machine.

    Attributes:
        documents: In the store.
        queries: That were asked, one after the other.
        candidates: That are re-ranked for a query, at most.
        processor: Its name and its matrix instructions.
        threads: Of torch.
        stages: By stage of `explain`, ``{"p50": ..., "p95": ...}`` in milliseconds.
        embedding: The bi-encoder embedding documents.
        scoring: The cross-encoder scoring pairs; None where the retriever has none.
        recipe: LangChain's recipe next to it, see `against_recipe`; None where that is not installed, was not asked
            for, or there is no cross-encoder.
    """

    documents: int
    queries: int
    candidates: int
    processor: str
    threads: int
    stages: dict[str, dict[str, float]]
    embedding: ModelSpeed
    scoring: ModelSpeed | None
    recipe: dict[str, Compared] | None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON data."""
        return asdict(self)


def profile(  # the settings of one measurement
    retriever: RerankRetriever,
    *,
    queries: int = 20,
    rounds: int = 3,
    seed: int = 0,
    compare: bool = True,
    report: Report = lambda _: None,
) -> Profile:
    """Measure a retriever; its store is only read.

    Args:
        retriever: Over a `FaissStore` with `PooledEmbeddings`, with a `CrossEncoderScorer` or no re-ranker.
        queries: How many to ask, first sentences of documents drawn at random.
        rounds: How often bulk work is repeated.
        seed: Of the draw.
        compare: Whether to run LangChain's recipe beside it, where it is installed.
        report: Called with what is done next.

    Raises:
        InvalidArgumentError: If the retriever has other parts, or no document to ask for.
    """
    from torch import get_num_threads

    parts = checked_parts(retriever)
    report("asking queries")
    sample = ask(parts, queries, seed=seed)
    report("embedding and scoring")
    embeddings, scorer = parts.embeddings, parts.scorer
    embedding = model_speed(
        embeddings, lambda: embeddings.encode(sample.texts), len(sample.texts), rounds=rounds
    )
    scoring = None
    if scorer is not None:
        scoring = model_speed(scorer, lambda: scorer.score(sample.pairs), len(sample.pairs), rounds=rounds)
    recipe = recipe_for(parts) if compare else None
    if recipe is not None:
        report("running LangChain's recipe")
    return Profile(
        documents=len(parts.store),
        queries=len(sample.explanations),
        candidates=max(len(one.candidates) for one in sample.explanations),
        processor=processor(),
        threads=get_num_threads(),
        stages=_stages(sample),
        embedding=embedding,
        scoring=scoring,
        recipe=None if recipe is None else against_recipe(recipe, parts, sample, rounds=rounds),
    )


def _stages(sample: Sample) -> dict[str, dict[str, float]]:
    return {
        stage: percentiles_ms([one.seconds[stage] for one in sample.explanations])
        for stage in sample.explanations[0].seconds
    }

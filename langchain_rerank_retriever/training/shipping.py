"""From the systems that competed to retrievers: timed, and the chosen one saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from langchain_rerank_retriever.blend import Blend
from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.training.proof.stages import System
from langchain_rerank_retriever.training.proof.systems import blend_of

#: Enough for a median that means something; each system answers them one at a time.
TIMED_QUERIES = 20


@dataclass(frozen=True, slots=True)
class Parts:
    """What the systems are put together from.

    Attributes:
        base_store: Indexed with the untuned bi-encoder.
        tuned_store: Indexed with the tuned one.
        serving_store: The better of the two, which stage two works on.
        scorer: The cross-encoder; None where none was trained.
    """

    base_store: FaissStore
    tuned_store: FaissStore
    serving_store: FaissStore
    scorer: CrossEncoderScorer | None

    def retrievers(self, systems: Mapping[str, System], blend: Blend | None) -> dict[str, RerankRetriever]:
        """Set up the retriever that each system describes."""
        return {name: self._retriever(system, blend) for name, system in systems.items()}

    def _retriever(self, system: System, blend: Blend | None) -> RerankRetriever:
        stores = {"base": self.base_store, "tuned": self.tuned_store, "serving": self.serving_store}
        return RerankRetriever(
            stores[system.encoder],
            reranker=self.scorer if system.reranked else None,
            fetch_k=system.depth,
            recall_mode=system.mode,
            blend=blend_of(system.name, blend),
        )


def latency(retriever: RerankRetriever, queries: Sequence[str]) -> dict[str, float]:
    """Time a retriever on some queries, one at a time.

    Returns:
        `p50` and `p95` in milliseconds.
    """
    timed = queries[-TIMED_QUERIES:]
    retriever.invoke(timed[0])  # the first query pays for what is made on first use
    milliseconds = [1000 * retriever.explain(query).seconds["total"] for query in timed]
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}

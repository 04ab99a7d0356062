"""All stage scores of the held-out queries, computed once; every system is then read off them without a model.

Pair scores do not depend on each other, so one scoring of each query's candidates gives the answer of every
combination of recall mode, depth and weights. `served_order` follows the retriever's own steps with its own
functions; a test holds the two together. They differ where BM25 scores are equal: such documents are in dense
order here, and in order of insertion in the store.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from langchain_rerank_retriever.blend import BlendVariant
from langchain_rerank_retriever.protocols import RecallMode
from langchain_rerank_retriever.recall import Candidate, RecallRequest, RecallSource, source_of
from langchain_rerank_retriever.recall.candidate import StageScore
from langchain_rerank_retriever.recall.fusion import Floats, best_first, reciprocal_rank_scores, weighted_sum
from langchain_rerank_retriever.recall.store import HYBRID_DEPTH

#: How far recall is judged: the depth of R@100, which is also how deep hybrid recall searches each side.
RECALL_DEPTH = HYBRID_DEPTH


Places = np.ndarray[Any, np.dtype[np.intp]]


@dataclass(frozen=True, slots=True)
class StageTable:
    """One query's candidates: the union of the first 100 of dense and of lexical recall.

    Attributes:
        ids: Document ids, shape ``(n,)``.
        dense: Cosine similarities, shape ``(n,)``.
        lexical: BM25 scores, shape ``(n,)``, 0.0 where no term matches.
        rerank: Cross-encoder logits, shape ``(n,)``; NaN for what was not scored, None where nothing was.
    """

    ids: tuple[str, ...]
    dense: Floats
    lexical: Floats
    rerank: Floats | None = None

    def top(self, side: str, depth: int) -> Places:
        """Return the places of the first `depth` candidates of one side's own list, best first."""
        scores = self.dense if side == "dense" else self.lexical
        best = best_first(scores)[:depth]
        return best if side == "dense" else best[scores[best] > 0]


@dataclass(frozen=True, slots=True)
class System:
    """One way to answer, as the retriever would be set up for it.

    Attributes:
        name: As in the report.
        encoder: Whose recall it starts from: of the untuned bi-encoder, of the tuned one, or of the one that was
            found better, which serves stage two.
        mode: The recall mode.
        depth: `fetch_k`.
        reranked: Whether the cross-encoder takes part.
        fusion: Weights for hybrid recall; None is by reciprocal rank.
        variant: The blend; None orders by the cross-encoder, or as recalled.
    """

    name: str
    encoder: Literal["base", "tuned", "serving"] = "base"
    mode: RecallMode = "dense"
    depth: int = RECALL_DEPTH
    reranked: bool = False
    fusion: Mapping[str, float] | None = None
    variant: BlendVariant | None = None


def recall_table(store: Any, query: str) -> StageTable:
    """Recall both sides of one query to the depth of R@100."""
    return table_of(source_of(store), query)


def table_of(source: RecallSource, query: str) -> StageTable:
    """Do the same with a recall source."""
    found: dict[str, Candidate] = {}
    modes: tuple[RecallMode, ...] = ("dense", "lexical")
    for mode in modes:
        both: frozenset[StageScore] = frozenset({"dense", "lexical"})
        request = RecallRequest(query=query, fetch_k=RECALL_DEPTH, mode=mode, stage_scores=both)
        for candidate in source.recall(request):
            found.setdefault(str(candidate.document.id), candidate)
    return StageTable(
        tuple(found),
        np.array([candidate.dense_score for candidate in found.values()], float),
        np.array([candidate.lexical_score for candidate in found.values()], float),
    )


def with_rerank(
    table: StageTable,
    query: str,
    texts: Mapping[str, str],
    score: Callable[[list[tuple[str, str]]], Sequence[float]],
    recalls: Sequence[System],
) -> StageTable:
    """Score the candidates that some systems recall.

    Args:
        table: The query's candidates.
        query: The query.
        texts: Document id to text.
        score: The cross-encoder.
        recalls: Every candidate that one of these recalls is scored.
    """
    places = np.unique(np.concatenate([_recalled(table, system)[0] for system in recalls]))
    rerank = np.full(len(table.ids), np.nan)
    if places.size:
        rerank[places] = score([(query, texts[table.ids[place]]) for place in places])
    return replace(table, rerank=rerank)


def served_order(table: StageTable, system: System) -> list[str]:
    """Return the document ids that the system answers with, best first."""
    places, recall = _recalled(table, system)
    if places.size == 0:
        return []
    if system.variant is not None:
        blended = system.variant.blended(_columns(table, places, recall))
        places = places[best_first(blended)]
    elif system.reranked and table.rerank is not None:
        places = places[best_first(table.rerank[places])]
    return [table.ids[place] for place in places]


def candidates(table: StageTable, system: System) -> tuple[list[str], dict[str, Floats]]:
    """Return what a system recalls of one query, in recall order, with the scores of every stage."""
    places, recall = _recalled(table, system)
    return [table.ids[place] for place in places], _columns(table, places, recall)


def _columns(table: StageTable, places: Places, recall: Floats) -> dict[str, Floats]:
    columns = {"recall": recall, "dense": table.dense[places], "lexical": table.lexical[places]}
    if table.rerank is not None:
        columns["rerank"] = table.rerank[places]
    return columns


def _recalled(table: StageTable, system: System) -> tuple[Places, Floats]:
    """Return the places that a system recalls, best first, and the scores that it recalls them by."""
    if system.mode != "hybrid":
        places = table.top(system.mode, system.depth)
        return places, (table.dense if system.mode == "dense" else table.lexical)[places]
    if not table.ids:
        return np.empty(0, np.intp), np.empty(0)
    if system.fusion is not None:
        fused = weighted_sum({"dense": table.dense, "lexical": table.lexical}, system.fusion)
    else:
        lists = [[str(place) for place in table.top(side, len(table.ids))] for side in ("dense", "lexical")]
        ranks = reciprocal_rank_scores(lists)
        fused = np.array([ranks[str(place)] for place in range(len(table.ids))])
    places = best_first(fused)[: system.depth]
    return places, fused[places]

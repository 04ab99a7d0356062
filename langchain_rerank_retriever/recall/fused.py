"""Recall in several ways at once, fused by reciprocal rank: from several sources, or with several queries."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from langchain_core.runnables import run_in_executor
from langchain_core.runnables.config import ContextThreadPoolExecutor

from langchain_rerank_retriever.protocols import RecallMode
from langchain_rerank_retriever.recall.candidate import (
    Candidate,
    RecallRequest,
    RecallSource,
    StageScore,
)
from langchain_rerank_retriever.recall.joining import fuse
from langchain_rerank_retriever.recall.store import StoreRecall

#: Searches of one query that run side by side at most: more than users have stores, few enough threads for a batch.
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class FusedRecall:
    """Several sources; where one fails, the query fails.

    A recall mode goes to those that have it, and the others keep their own order; where none has it, it is refused. A
    filter and `search_kwargs`, which may hold one, go to all: a document that is to be kept out must not come in
    elsewhere.
    """

    sources: Sequence[RecallSource]
    score_is_opaque: ClassVar[bool] = False

    @property
    def stage_scores(self) -> frozenset[StageScore]:
        """What every one of the sources can give."""
        return frozenset.intersection(*(source.stage_scores for source in self.sources))

    def recall(self, request: RecallRequest) -> list[Candidate]:
        """Ask the sources, those that wait for servers side by side, and fuse."""
        return fuse(_side_by_side(list(zip(self.sources, self._requests(request)))), request.fetch_k)

    async def arecall(self, request: RecallRequest) -> list[Candidate]:
        """Ask all sources at once and fuse."""
        asked = zip(self.sources, self._requests(request))
        return fuse(await _all([source.arecall(one) for source, one in asked]), request.fetch_k)

    def scores_of(
        self, query: str, ids: Iterable[str], wanted: frozenset[StageScore]
    ) -> dict[StageScore, dict[str, float]]:
        """Ask each source; where two know a document, the first is believed."""
        names, result = list(ids), dict[StageScore, dict[str, float]]()
        for source in reversed(self.sources):
            for stage, scores in source.scores_of(query, names, wanted).items():
                result.setdefault(stage, {}).update(scores)
        return result

    def _requests(self, request: RecallRequest) -> list[RecallRequest]:
        """Make a request for each source, without what only others can use."""
        moded = [_has_mode(one, request.mode) for one in self.sources]
        return [
            replace(request, mode=request.mode if has_mode or not any(moded) else None) for has_mode in moded
        ]


@dataclass(frozen=True, slots=True)
class ManyQueriesRecall:
    """One source, asked with further wordings of the query; stage scores are those of the query itself.

    Attributes:
        source: The source.
        others: The further queries.
    """

    source: RecallSource
    others: tuple[str, ...]
    score_is_opaque: ClassVar[bool] = False

    @property
    def stage_scores(self) -> frozenset[StageScore]:
        """Those of the source."""
        return self.source.stage_scores

    def recall(self, request: RecallRequest) -> list[Candidate]:
        """Recall with all queries, fuse, and score for the query itself what only others found."""
        lists = _side_by_side([(self.source, one) for one in self._requests(request)])
        return self._for_query(request, lists)

    async def arecall(self, request: RecallRequest) -> list[Candidate]:
        """Do the same with all queries at once."""
        lists = await _all([self.source.arecall(one) for one in self._requests(request)])
        if not request.stage_scores:
            return self._for_query(request, lists)
        return await run_in_executor(None, self._for_query, request, lists)

    def scores_of(
        self, query: str, ids: Iterable[str], wanted: frozenset[StageScore]
    ) -> dict[StageScore, dict[str, float]]:
        """Ask the source."""
        return self.source.scores_of(query, ids, wanted)

    def _requests(self, request: RecallRequest) -> list[RecallRequest]:
        others = (replace(request, query=other, stage_scores=frozenset()) for other in self.others)
        return [request, *others]

    def _for_query(self, request: RecallRequest, lists: Sequence[list[Candidate]]) -> list[Candidate]:
        first, *others = lists
        nameless = [
            [replace(one, dense_score=None, lexical_score=None) for one in candidates]
            for candidates in others
        ]
        fused = fuse([first, *nameless], request.fetch_k)
        missing = [one.document.id for one in fused if _lacks(one, request.stage_scores)]
        if not missing:
            return fused
        scores = self.scores_of(request.query, [str(name) for name in missing], request.stage_scores)
        filled = [_filled(one, scores) for one in fused]
        # A document that was deleted meanwhile cannot be scored: it is gone.
        return [one for one in filled if not _lacks(one, request.stage_scores)]


def with_queries(source: RecallSource, query: str, extra: Iterable[str]) -> RecallSource:
    """Make a source that recalls with further queries, too; the source itself where there are no others.

    Args:
        source: What is asked.
        query: The query itself, which stage scores are for.
        extra: The further wordings; what repeats is asked once.
    """
    others = tuple(dict.fromkeys(other for other in extra if other != query))
    return ManyQueriesRecall(source, others) if others else source


def _lacks(candidate: Candidate, wanted: frozenset[StageScore]) -> bool:
    return any(getattr(candidate, f"{stage}_score") is None for stage in wanted)


def _filled(candidate: Candidate, scores: dict[StageScore, dict[str, float]]) -> Candidate:
    name = str(candidate.document.id)
    found = {f"{stage}_score": of[name] for stage, of in scores.items() if name in of}
    lacking: dict[str, Any] = {key: one for key, one in found.items() if getattr(candidate, key) is None}
    return replace(candidate, **lacking)


def _has_mode(source: RecallSource, mode: RecallMode | None) -> bool:
    if mode in (None, "dense"):
        return True
    if isinstance(source, FusedRecall):
        return any(_has_mode(one, mode) for one in source.sources)
    # Whatever scores by BM25 also searches by it.
    return "lexical" in source.stage_scores


def _side_by_side(searches: Sequence[tuple[RecallSource, RecallRequest]]) -> list[list[Candidate]]:
    """Search foreign sources in threads, since most of their time is waiting for a server, and our own meanwhile here.

    Our own need the processor, and threads that share it would only be in each other's way.
    """
    own = [place for place, (source, _) in enumerate(searches) if _is_own(source)]
    waiting = [place for place in range(len(searches)) if place not in own]
    if len(searches) == 1 or not waiting:
        return [source.recall(request) for source, request in searches]
    with ContextThreadPoolExecutor(max_workers=min(len(waiting), _AT_ONCE)) as executor:
        answers = {place: executor.submit(_recall, *searches[place]) for place in waiting}
        found = {place: _recall(*searches[place]) for place in own}
    found |= {place: answer.result() for place, answer in answers.items()}
    return [found[place] for place in range(len(searches))]


def _recall(source: RecallSource, request: RecallRequest) -> list[Candidate]:
    return source.recall(request)


def _is_own(source: RecallSource) -> bool:
    if isinstance(source, FusedRecall):
        return all(_is_own(one) for one in source.sources)
    return isinstance(source.source if isinstance(source, ManyQueriesRecall) else source, StoreRecall)


async def _all(searches: Sequence[Coroutine[Any, Any, list[Candidate]]]) -> list[list[Candidate]]:
    """Await all searches; where one fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(search) for search in searches]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()

"""Re-ranking in one stage or several, the cheap ones first: each gets what the one before it left, in its order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document
from numpy.typing import NDArray

from langchain_rerank_retriever.answering.events import ATell, Stage, Tell
from langchain_rerank_retriever.answering.rescore import Reranker, Rescored, arescore, rescore
from langchain_rerank_retriever.answering.scoring import AReport, Report, StopRule
from langchain_rerank_retriever.errors import InvalidArgumentError


def stages_of(reranker: Any) -> tuple[Reranker, ...]:
    """Make the stages of what a user hands in: nothing, one re-ranker, or a list of them.

    Raises:
        InvalidArgumentError: For anything else, an empty list, and a cross-encoder that does not come last: it only
            scores, and nothing would say how many candidates the next stage gets.
    """
    if reranker is None:
        return ()
    stages = tuple(reranker) if isinstance(reranker, list | tuple) else (reranker,)
    if not stages:
        raise InvalidArgumentError("reranker must not be an empty list; None is for recall only.")
    for stage in stages:
        if not isinstance(stage, BaseCrossEncoder | BaseDocumentCompressor):
            raise InvalidArgumentError(
                "reranker must be a LangChain BaseCrossEncoder (such as CrossEncoderScorer), a "
                f"BaseDocumentCompressor, a list of those, or None; got {stage!r}."
            )
    for number, stage in enumerate(stages[:-1], start=1):
        if not isinstance(stage, BaseDocumentCompressor):
            raise InvalidArgumentError(
                f"Stage {number} of {len(stages)} of reranker must say how many candidates it leaves to the next; "
                f"{type(stage).__name__} only scores. Wrap it: CrossEncoderReranker(model=..., top_n=30)."
            )
    return stages


def rerank(
    stages: Sequence[Reranker],
    query: str,
    documents: Sequence[Document],
    *,
    deadline: float | None = None,
    stop: StopRule | None = None,
    tell: Tell | None = None,
) -> Rescored | None:
    """Re-rank the candidates of one query.

    Args:
        stages: The re-rankers.
        query: The query.
        documents: In recall order; they are not changed.
        deadline: As for `rescore`; compressors ignore it.
        stop: As for `rescore`, for a single stage.
        tell: Told of the progress; None where nobody listens.

    Returns:
        None where there is no stage.

    Raises:
        ScoringError: If a model returns a number that is not finite, or not one number a pair.
    """
    progress = _Progress(documents)
    for number, reranker in enumerate(stages, start=1):
        left = progress.left
        stage = Stage(number, len(stages), len(left))
        report = None if tell is None else _reporting(stage, tell)
        rescored = rescore(reranker, query, left, deadline=deadline, stop=stop, report=report)
        progress.take(rescored)
        if tell is not None:
            tell(stage.reranked(rescored))
    return progress.result


async def arerank(
    stages: Sequence[Reranker],
    query: str,
    documents: Sequence[Document],
    *,
    deadline: float | None = None,
    stop: StopRule | None = None,
    tell: ATell | None = None,
) -> Rescored | None:
    """Do the same without blocking the event loop."""
    progress = _Progress(documents)
    for number, reranker in enumerate(stages, start=1):
        left = progress.left
        stage = Stage(number, len(stages), len(left))
        report = None if tell is None else _areporting(stage, tell)
        rescored = await arescore(reranker, query, left, deadline=deadline, stop=stop, report=report)
        progress.take(rescored)
        if tell is not None:
            await tell(stage.reranked(rescored))
    return progress.result


def _reporting(stage: Stage, tell: Tell) -> Report:
    return lambda scored: tell(stage.scored(scored))


def _areporting(stage: Stage, tell: ATell) -> AReport:
    return lambda scored: tell(stage.scored(scored))


class _Progress:
    """What is left of one query's candidates after the stages so far."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = list(documents)
        self._places: tuple[int, ...] = tuple(range(len(documents)))
        self._dropped: dict[int, int] = {}
        self._late: set[int] = set()
        self._stages = 0
        self.result: Rescored | None = None

    @property
    def left(self) -> list[Document]:
        """The documents that the next stage gets, best first by the one before."""
        return [self._documents[place] for place in self._places]

    def take(self, rescored: Rescored) -> None:
        """Keep what a stage said of what it was given."""
        self._stages += 1
        places = self._places
        for place, document in zip(places, rescored.documents, strict=True):
            self._documents[place] = document
        self._dropped |= {places[index]: self._stages for index in rescored.dropped}
        self._late |= {places[index] for index in rescored.late}
        self._places = tuple(places[index] for index in rescored.order)
        size, chosen = len(self._documents), list(places)
        self.result = Rescored(
            tuple(self._documents),
            self._places,
            rescored.is_final,
            _spread(rescored.scores, chosen, np.full(size, np.nan)),
            _spread(rescored.truncated, chosen, np.zeros(size, bool)),
            rescored.unscored,
            dict(self._dropped),
            frozenset(self._late),
        )


def _spread(values: NDArray[Any] | None, places: list[int], whole: NDArray[Any]) -> NDArray[Any] | None:
    """Put values of some candidates into an array of all."""
    if values is None:
        return None
    whole[places] = values
    return whole

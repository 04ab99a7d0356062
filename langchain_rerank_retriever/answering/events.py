"""Custom events that tell how far a query has come; made only where a callback handler listens to such."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler

from langchain_rerank_retriever.answering.rescore import Rescored

#: Names of the events, by which users tell them apart; they are part of what is promised.
RECALLED = "rerank_retriever.recalled"
SCORED = "rerank_retriever.scored"
RERANKED = "rerank_retriever.reranked"


class Event(NamedTuple):
    """One event as LangChain dispatches it."""

    name: str
    data: dict[str, Any]


Tell = Callable[[Event], None]
ATell = Callable[[Event], Awaitable[None]]

#: What handlers have that do not listen, such as every tracer of LangChain's.
_DEAF = (BaseCallbackHandler.on_custom_event, AsyncCallbackHandler.on_custom_event)


def listened_to(handlers: Iterable[BaseCallbackHandler]) -> bool:
    """Tell whether a handler does anything with custom events."""
    return any(
        not one.ignore_custom_event and getattr(one.on_custom_event, "__func__", None) not in _DEAF
        for one in handlers
    )


def recalled(candidates: int) -> Event:
    """Recall has given so many candidates."""
    return Event(RECALLED, {"candidates": candidates})


class Stage(NamedTuple):
    """A re-ranker's place among the others.

    Attributes:
        number: From 1.
        stages: How many re-rankers there are.
        candidates: How many it was given.
    """

    number: int
    stages: int
    candidates: int

    def scored(self, scored: int) -> Event:
        """So many of its candidates have been scored, of which there is more to come or not."""
        return Event(SCORED, {**self._place(), "scored": scored})

    def reranked(self, rescored: Rescored) -> Event:
        """It is done; says what it threw away, and whether time or an early stop ended it."""
        scores = rescored.scores
        return Event(
            RERANKED,
            {
                **self._place(),
                "scored": None if scores is None else int(np.count_nonzero(~np.isnan(scores))),
                "dropped": len(rescored.dropped),
                "unscored": rescored.unscored,
            },
        )

    def _place(self) -> dict[str, Any]:
        return {"stage": self.number, "stages": self.stages, "candidates": self.candidates}

"""Re-rankers that do wrong in every way that was thought of, and what has to come of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document

from langchain_rerank_retriever.errors import ScoringError


def right_score(passage: str) -> float:
    """What a re-ranker that does right gives: by the last character, so that there are ties."""
    return float(ord(passage[-1]) % 4)


class Returning(BaseCrossEncoder):
    """Makes whatever it is told of the right scores."""

    def __init__(self, change: Callable[[list[float]], Any]) -> None:
        self.change = change
        self.asked = 0

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> Any:  # type: ignore[override]
        self.asked += 1
        return self.change([right_score(passage) for _, passage in text_pairs])


class Compressing(BaseDocumentCompressor):
    """Makes whatever it is told of the documents."""

    change: Callable[[list[Document]], Any]

    def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> Any:
        return self.change(list(documents))


def raising(error: BaseException) -> Callable[[Any], Any]:
    def fail(_: Any) -> Any:
        raise error

    return fail


@dataclass(frozen=True)
class Failing:
    """A fault at which the query fails.

    Attributes:
        change: What the re-ranker does.
        error: What the caller gets.
        message: What it says.
        awaited: What the caller gets who awaits, where that is another.
    """

    change: Callable[[Any], Any]
    error: type[BaseException] = ScoringError
    message: str | None = None
    awaited: type[BaseException] | None = None


NAN, INF = float("nan"), float("inf")

CROSS_ENCODERS = {
    "nan": Failing(lambda scores: [*scores[:-1], NAN], message="gave nan"),
    "inf": Failing(lambda scores: [INF, *scores[1:]], message="gave inf"),
    "minus inf": Failing(lambda scores: [-INF, *scores[1:]], message="gave -inf"),
    "nan for all": Failing(lambda scores: np.full(len(scores), NAN, np.float32), message="gave nan"),
    "one too few": Failing(lambda scores: scores[1:], message="shape"),
    "one too many": Failing(lambda scores: [*scores, 1.0], message="shape"),
    "none of them": Failing(lambda _: [], message="shape"),
    "two labels": Failing(lambda scores: np.ones((len(scores), 2)), message="several labels"),
    "a row": Failing(lambda scores: np.ones((1, len(scores))), message="shape"),
    "words": Failing(lambda scores: ["high" for _ in scores], message="numbers"),
    "nothing": Failing(lambda _: None, message="numbers"),
    "one number": Failing(lambda _: 1.0, message="numbers"),
    "None in a list": Failing(lambda scores: [None, *scores[1:]], message="(numbers|nan)"),
    "an exception": Failing(raising(ValueError("of its own")), ValueError, "of its own"),
    "out of memory": Failing(raising(MemoryError("no more")), MemoryError, "no more"),
    "a server's time-out": Failing(raising(TimeoutError("too slow")), TimeoutError, "too slow"),
    "an exhausted iterator": Failing(raising(StopIteration()), StopIteration, None, RuntimeError),
}


def scored(value: Any) -> Callable[[list[Document]], list[Document]]:
    """Have every document carry a score."""

    def change(given: list[Document]) -> list[Document]:
        return [
            one.model_copy(update={"metadata": {**one.metadata, "relevance_score": value}}) for one in given
        ]

    return change


def anew(**metadata: Any) -> Callable[[list[Document]], list[Document]]:
    return lambda _: [Document(page_content="invented", metadata=metadata)]


COMPRESSORS = {
    "nothing": Failing(lambda _: None, message="returned NoneType"),
    "a number": Failing(lambda _: 3, message="returned int"),
    "texts": Failing(lambda given: [one.page_content for one in given], message="list with str"),
    "one document": Failing(lambda given: given[0], message="Document with tuple"),
    "pairs": Failing(lambda given: [(one, 1.0) for one in given], message="list with tuple"),
    "no metadata": Failing(
        lambda _: [Document.model_construct(page_content="a", metadata=None)], message="with metadata"
    ),
    "an invented document": Failing(anew(), message="without the metadata"),
    "a place that is none": Failing(anew(_langchain_rerank_retriever_place=99), message="without"),
    "a place below 0": Failing(anew(_langchain_rerank_retriever_place=-1), message="without"),
    "a place that is true": Failing(anew(_langchain_rerank_retriever_place=True), message="without"),
    "nan": Failing(scored(NAN), message="relevance_score nan"),
    "inf": Failing(scored(np.float32(INF)), message="relevance_score inf"),
    "an exception": Failing(raising(KeyError("of its own")), KeyError, "of its own"),
    "an exhausted iterator": Failing(raising(StopIteration()), StopIteration, None, RuntimeError),
}

#: What a compressor may do: for five candidates in recall order the places that are left, in their order.
ALLOWED: dict[str, tuple[Callable[[list[Document]], Any], list[int]]] = {
    "drops": (lambda given: given[1:3], [1, 2]),
    "drops all": (lambda _: [], []),
    "doubles": (lambda given: [given[2], given[0], given[2]], [2, 0]),
    "reorders": (lambda given: given[::-1], [4, 3, 2, 1, 0]),
    "gives one after the other": (iter, [0, 1, 2, 3, 4]),
    "loses the ids": (lambda given: [_with(one, id=None) for one in given], [0, 1, 2, 3, 4]),
    "gives other ids": (lambda given: [_with(one, id="same") for one in given], [0, 1, 2, 3, 4]),
    "scores some": (lambda given: [*scored(1.0)(given[:2]), *given[2:]], [0, 1, 2, 3, 4]),
    "scores all alike": (scored(1), [0, 1, 2, 3, 4]),
    "spoils what it is given": (lambda given: [_spoilt(one) for one in given], [0, 1, 2, 3, 4]),
    "empties the list": (lambda given: [given.pop(0) for _ in range(5)], [0, 1, 2, 3, 4]),
}


def _with(document: Document, **changed: Any) -> Document:
    return document.model_copy(update=changed)


def _spoilt(document: Document) -> Document:
    document.metadata["tags"].append("spoilt")
    document.page_content = "spoilt"
    return document

"""What is measured: a retriever's parts, and what they are given to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from langchain_rerank_retriever.benchmark.sampling import draw_documents, queries_from
from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import Explanation
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore

#: Enough for dozens of batches, few enough that a slow machine is through with them in seconds.
_PAIRS = 256
_TEXTS = 128


@dataclass(frozen=True, slots=True)
class Parts:
    """A retriever whose parts are known to be this package's own."""

    retriever: RerankRetriever
    store: FaissStore
    embeddings: PooledEmbeddings
    scorer: CrossEncoderScorer | None


@dataclass(frozen=True, slots=True)
class Sample:
    """What a retriever is given to do.

    Attributes:
        explanations: Of queries asked one after the other.
        texts: Documents of the store.
        pairs: Of the queries and their candidates.
    """

    explanations: Sequence[Explanation]
    texts: list[str]
    pairs: list[tuple[str, str]]


def checked_parts(retriever: RerankRetriever) -> Parts:
    """Take a retriever apart.

    Raises:
        InvalidArgumentError: If it is made of anything but this package's own store and models.
    """
    store, scorer = retriever.recall, retriever.reranker
    if not isinstance(store, FaissStore) or not isinstance(store.embeddings, PooledEmbeddings):
        raise InvalidArgumentError(
            "Only a retriever over a FaissStore with PooledEmbeddings can be measured, this one recalls from "
            f"{type(store).__name__}."
        )
    if scorer is not None and not isinstance(scorer, CrossEncoderScorer):
        raise InvalidArgumentError(
            f"Only a CrossEncoderScorer can be measured as re-ranker, this one is {type(scorer).__name__}."
        )
    return Parts(retriever, store, store.embeddings, scorer)


def ask(parts: Parts, count: int, *, seed: int) -> Sample:
    """Ask a retriever queries made of its own documents, one after the other.

    Raises:
        InvalidArgumentError: If there is no document to ask for.
    """
    drawn = draw_documents(parts.store.documents(), seed=seed)
    queries = queries_from(drawn, count)
    if not queries:
        raise InvalidArgumentError(
            "There is nothing to measure: the store has no document with text. Add documents to it first."
        )
    parts.retriever.explain(queries[0])  # pays for what is made at the first query
    explanations = [parts.retriever.explain(query) for query in queries]
    pairs = (
        (one.query, candidate.document.page_content) for one in explanations for candidate in one.candidates
    )
    texts = [document.page_content for document in drawn[:_TEXTS]]
    return Sample(explanations, texts, list(islice(pairs, _PAIRS)))

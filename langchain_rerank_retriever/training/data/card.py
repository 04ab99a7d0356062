"""What is in the data of a run: counted and listed, nothing dropped."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
from langchain_core.documents import Document

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.tables import as_paragraphs
from langchain_rerank_retriever.training.data.near import near_duplicates
from langchain_rerank_retriever.training.data.reading import TrainingData
from langchain_rerank_retriever.training.data.rows import normalised

#: Documents beyond this number are not compared with one another; comparing so many takes a quarter of a minute.
MOST_COMPARED = 100_000

_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """Something worth a look.

    Attributes:
        count: How many there are.
        examples: The first few: texts or ids, those that belong together in one tuple.
    """

    count: int
    examples: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Truncation:
    """Documents that are longer than what training reads of them.

    Attributes:
        limit: Tokens that training reads.
        documents: How many documents are longer.
        median, longest: Tokens of a document.
    """

    limit: int
    documents: int
    median: int
    longest: int


@dataclass(frozen=True, slots=True)
class DataCard:
    """The data of a run in figures.

    Attributes:
        documents: In the corpus.
        queries: To train on.
        judgements: Query and document, relevant or not, to train on.
        held_out_queries: To judge by.
        positives: Fewest, median and most relevant documents of a query to train on.
        duplicate_queries: Queries that differ in case and spaces only from another of the same part.
        duplicate_documents: Documents with the very text of an earlier one.
        near_duplicates: Documents that share most of their beginning with another that is not the same text.
        compared_documents: How many of the documents, from the first on, were compared for that.
        shared_queries: Queries of the held-out part that are in the training part, too.
        shared_documents: Documents relevant to queries of both parts.
        doubtful_positives: Documents judged relevant that no untuned recall found; None where that is not known.
        truncation: None where the lengths are not known.
    """

    documents: int
    queries: int
    judgements: int
    held_out_queries: int
    positives: tuple[int, float, int]
    duplicate_queries: Finding
    duplicate_documents: Finding
    near_duplicates: Finding
    compared_documents: int
    shared_queries: Finding
    shared_documents: Finding
    doubtful_positives: Finding | None
    truncation: Truncation | None

    def to_dict(self) -> dict[str, Any]:
        """Return the card as what JSON can hold."""
        return asdict(self, dict_factory=lambda pairs: {name: _plain(value) for name, value in pairs})

    def __str__(self) -> str:
        low, median, high = self.positives
        lines = [
            f"{self.documents:,} documents; {self.queries:,} queries to train on, with {self.judgements:,} "
            f"judgements; {self.held_out_queries:,} queries held out",
            f"relevant documents of a query: {low} to {high}, median {median:g}",
        ]
        doubtful = self.doubtful_positives or Finding(0)
        for finding, text in (
            (self.duplicate_queries, "queries differ from another in case and spaces only"),
            (self.duplicate_documents, "documents have the same text as an earlier one"),
            (self.near_duplicates, "documents are nearly the same as another"),
            (self.shared_queries, "held-out queries are among those to train on, too"),
            (
                self.shared_documents,
                "documents are relevant both to held-out queries and to those to train on",
            ),
            (
                doubtful,
                "documents judged relevant were not found by any untuned recall; the labels may be wrong",
            ),
        ):
            if finding.count:
                shown = "; ".join(" = ".join(map(_short, example)) for example in finding.examples)
                lines.append(
                    f"{finding.count:,} {text}: {shown}{' ...' if finding.count > _EXAMPLES else ''}"
                )
        if self.truncation is not None:
            cut = self.truncation
            share = 100 * cut.documents / max(1, self.documents)
            lines.append(
                f"{cut.documents:,} documents ({share:.0f} %) are longer than the {cut.limit:,} tokens that training "
                f"reads; median {cut.median:,}, longest {cut.longest:,}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Show the same, a paragraph for each finding, in a notebook."""
        return as_paragraphs(str(self).splitlines())


def data_card(
    data: TrainingData,
    held_out: TrainingData | None,
    corpus: Mapping[str, Document],
    *,
    token_counts: Sequence[int] | None = None,
    train_tokens: int = 128,
    not_recalled: Collection[tuple[str, str]] | None = None,
    most_compared: int = MOST_COMPARED,
) -> DataCard:
    """Count what may make training or judging go wrong.

    Args:
        data: What is trained on.
        held_out: What is judged by; None where nothing is.
        corpus: Document id to document.
        token_counts: Tokens of every document, in the order of the corpus.
        train_tokens: Tokens of a document that training reads.
        not_recalled: Pairs of query id and document id, judged relevant in `data` or `held_out`, of which no untuned
            recall found the document among its first 100.
        most_compared: How many of the documents, from the first on, are compared for near duplicates: those of which
            the first 2,000 characters share 80 % of their runs of three words. 0 compares none.

    Raises:
        InvalidArgumentError: If there is not one token count a document, a number is out of range, or a pair of
            `not_recalled` is not judged relevant.
    """
    if token_counts is not None and len(token_counts) != len(corpus):
        raise InvalidArgumentError(
            f"token_counts must have one number a document: expected {len(corpus)}, got {len(token_counts)}."
        )
    if train_tokens < 1 or most_compared < 0:
        raise InvalidArgumentError(
            "train_tokens must be at least 1 and most_compared at least 0, "
            f"got {train_tokens} and {most_compared}."
        )
    parts = [data] if held_out is None else [data, held_out]
    positives = [len(data.positives(key)) for key in data.queries]
    return DataCard(
        documents=len(corpus),
        queries=len(data.queries),
        judgements=sum(map(len, data.qrels.values())),
        held_out_queries=0 if held_out is None else len(held_out.queries),
        positives=(min(positives), float(np.median(positives)), max(positives)) if positives else (0, 0.0, 0),
        duplicate_queries=_duplicate_queries(parts),
        duplicate_documents=_duplicate_documents(corpus),
        near_duplicates=_near(list(corpus.items())[:most_compared]),
        compared_documents=min(most_compared, len(corpus)),
        shared_queries=_shared_queries(parts),
        shared_documents=_shared_documents(parts),
        doubtful_positives=None if not_recalled is None else _doubtful(parts, not_recalled),
        truncation=_truncation(token_counts, train_tokens),
    )


def _finding(examples: Iterable[tuple[str, ...]], count: int | None = None) -> Finding:
    """Keep the first few; without a count, every example is one of what is counted."""
    every = list(examples)
    return Finding(len(every) if count is None else count, tuple(islice(every, _EXAMPLES)))


def _duplicate_queries(parts: Sequence[TrainingData]) -> Finding:
    groups: list[list[str]] = []
    for part in parts:
        same: dict[str, list[str]] = {}
        for text in part.queries.values():
            same.setdefault(normalised(text), []).append(text)
        groups += [texts for texts in same.values() if len(texts) > 1]
    return _finding(map(tuple, groups), sum(map(len, groups)))


def _duplicate_documents(corpus: Mapping[str, Document]) -> Finding:
    first: dict[str, str] = {}
    earlier = ((first.setdefault(document.page_content, key), key) for key, document in corpus.items())
    return _finding((one, key) for one, key in earlier if one != key)


def _near(documents: Sequence[tuple[str, Document]]) -> Finding:
    # Of equal texts only the first takes part, so that what is found is near and not equal.
    places: dict[str, str] = {}
    for key, document in documents:
        places.setdefault(document.page_content, key)
    ids = list(places.values())
    pairs = near_duplicates(list(places))
    return _finding(
        ((ids[one], ids[other]) for one, other in pairs), len({place for pair in pairs for place in pair})
    )


def _shared_queries(parts: Sequence[TrainingData]) -> Finding:
    trained, *judged = parts
    texts = {normalised(text) for text in trained.queries.values()}
    return _finding((text,) for part in judged for text in part.queries.values() if normalised(text) in texts)


def _shared_documents(parts: Sequence[TrainingData]) -> Finding:
    relevant = [
        dict.fromkeys(key for query in part.queries for key in part.positives(query)) for part in parts
    ]
    times = Counter(key for part in relevant for key in part)
    return _finding((key,) for key, number in times.items() if number > 1)


def _doubtful(parts: Sequence[TrainingData], not_recalled: Collection[tuple[str, str]]) -> Finding:
    examples = []
    for query_id, document_id in sorted(set(not_recalled)):
        texts = [
            part.queries[query_id]
            for part in reversed(parts)
            if query_id in part.queries and part.qrels[query_id].get(document_id, 0) > 0
        ]
        if not texts:
            raise InvalidArgumentError(
                f"not_recalled: expected pairs that are judged relevant, got {(query_id, document_id)!r}."
            )
        examples.append((texts[0], document_id))
    return _finding(examples)


def _truncation(token_counts: Sequence[int] | None, limit: int) -> Truncation | None:
    if token_counts is None or len(token_counts) == 0:
        return None
    longer = int(np.sum(np.asarray(token_counts) > limit))
    return Truncation(limit, longer, int(np.median(token_counts)), int(max(token_counts)))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."

"""Say of every relevant document that is missed who lost it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation.attribution.advice import advise, evidence_of
from langchain_rerank_retriever.evaluation.attribution.fates import (
    FATES,
    IN_WORDS,
    Fate,
    Indexed,
    LostDocument,
    lost_documents,
)
from langchain_rerank_retriever.evaluation.attribution.splits import ErrorSplit, split_errors
from langchain_rerank_retriever.evaluation.judgements import some
from langchain_rerank_retriever.evaluation.result import Evaluation
from langchain_rerank_retriever.tables import as_html, as_paragraphs, as_text


@dataclass(frozen=True, slots=True, repr=False)
class Attribution:
    """What became of the relevant documents of one system; `str()` is a table with the advice.

    Attributes:
        name: The system's.
        k: A document is missed if it is not among the first k.
        queries: How many queries have a relevant document; the others take no part.
        relevant: How many relevant documents these have, together.
        lost: Every missed one, with its one fate.
        splits: What is missing of nDCG@k and of R@k to 1, by cause.
        advice: What to do first.
        notes: What could not be told apart, in words.
    """

    name: str
    k: int
    queries: int
    relevant: int
    lost: tuple[LostDocument, ...]
    splits: tuple[ErrorSplit, ...]
    advice: str
    notes: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        """How many relevant documents are among the first k."""
        return self.relevant - len(self.lost)

    @property
    def counts(self) -> Mapping[Fate, int]:
        """How many missed documents have each fate that occurs, in the order of a query's way."""
        counted = Counter(one.fate for one in self.lost)
        return {fate: counted[fate] for fate in FATES if counted[fate]}

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        data = asdict(self)
        for split, plain in zip(self.splits, data["splits"], strict=True):
            plain |= {
                "lost_to_recall": split.lost_to_recall,
                "lost_to_ordering": split.lost_to_ordering,
                "lost_to_either": split.lost_to_either,
            }
        return {**data, "notes": list(self.notes), "found": self.found, "counts": dict(self.counts)}

    def table(self) -> list[list[str]]:
        """Rows of text, the header first: each fate with its documents and what it costs."""
        header = ["relevant documents", "count", "share", *(f"{split.measure} lost" for split in self.splits)]
        rows = [[f"among the first {self.k} (lost by their order)", *_share(self.found, self.relevant)]]
        rows[0] += [f"{split.lost['order']:.4f}" for split in self.splits]
        for fate, count in self.counts.items():
            costs = [f"{split.lost[fate]:.4f}" for split in self.splits]
            rows.append([IN_WORDS[fate], *_share(count, self.relevant), *costs])
        return [header, *rows]

    def __str__(self) -> str:
        return "\n".join([self._title(), as_text(self.table()), *self.words])

    def __repr__(self) -> str:
        return f"<Attribution of {self.name!r}: {len(self.lost)} of {self.relevant} not among the first {self.k}>"

    def _repr_html_(self) -> str:
        """Show as a table in a notebook."""
        return f"{as_html(self.table(), self._title())}\n{as_paragraphs(self.words)}"

    def _title(self) -> str:
        return f"{self.name}: {self.relevant} relevant documents of {self.queries} queries"

    @property
    def words(self) -> list[str]:
        """What stands below the table: the splits, the notes and the advice, a sentence or two each."""
        return [*map(in_words, self.splits), *self.notes, self.advice]


def _share(count: int, of: int) -> list[str]:
    return [str(count), f"{count / of:.1%}"]


def in_words(split: ErrorSplit) -> str:
    """Say in a sentence how far recall and ordering are to blame for what is missing of a measure."""
    parts = [f"{split.lost_to_recall:.4f} lost to recall", f"{split.lost_to_ordering:.4f} to ordering"]
    if split.lost_to_either:
        parts.append(f"{split.lost_to_either:.4f} to either, not known which")
    if split.out_of_reach:
        parts.append(f"{split.out_of_reach:.4f} out of reach, as more documents are relevant than it counts")
    return f"{split.measure} {split.value:.4f}, ceiling {split.ceiling:.4f}: {', '.join(parts)}."


def attribute(
    evaluation: Evaluation,
    *,
    k: int = 10,
    indexed: Indexed | None = None,
    unfiltered: Evaluation | None = None,
) -> Attribution:
    """Say of every relevant document that is not among the first k who lost it, and what that costs.

    Each has one fate, the first of these that holds:

    * `not_indexed`: the store does not have it. Only told where `indexed` is given.
    * `filtered`: recalled without the filter and not with it. Only told where `unfiltered` is given.
    * `not_recalled`: not among the `fetch_k` candidates. `not_returned` where the retriever has no `explain()`:
      then it is not known whether it was recalled.
    * `timeout`, `early_stop`: a candidate that the cross-encoder was not asked about.
    * `dropped_by_reranker`: a compressor kept it back.
    * `below_threshold`: among the first k, were it not for the threshold.
    * `collapsed`: another of the same parent stands for it.
    * `truncated`: ranked out by a cross-encoder that read it only in part.
    * `ranked_out`: others stand before it.

    Where an id comes several times, its best place counts.

    Args:
        evaluation: Of `evaluate`, with its judgements; a relevant document has relevance 1 or more.
        k: How many documents count.
        indexed: The ids that the store has, or a function that says which of a list of ids it has, such as
            `store.get_by_ids`.
        unfiltered: The same retriever, evaluated on the same queries without its filter.

    Raises:
        InvalidArgumentError: If k is below 1, the evaluation has no judgements or no relevant document, or
            `unfiltered` lacks queries.
    """
    _check(evaluation, k, unfiltered)
    lost = lost_documents(evaluation, k=k, indexed=indexed, unfiltered=unfiltered)
    measures = (f"nDCG@{k}", f"R@{k}")
    splits = split_errors(evaluation, lost, measures)
    counted = Counter(one.fate for one in lost)
    numbers = [sum(grade > 0 for grade in judged.values()) for judged in evaluation.qrels.values()]
    return Attribution(
        name=evaluation.name,
        k=k,
        queries=sum(number > 0 for number in numbers),
        relevant=sum(numbers),
        lost=lost,
        splits=splits,
        advice=advise(splits[0], evidence_of(evaluation, measures[0], counted["not_recalled"])),
        notes=tuple(_notes(counted, indexed=indexed is not None)),
    )


def _check(evaluation: Evaluation, k: int, unfiltered: Evaluation | None) -> None:
    given: Any = k
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise InvalidArgumentError(f"k must be a whole number of at least 1, got {k!r}.")
    if not any(relevance > 0 for judged in evaluation.qrels.values() for relevance in judged.values()):
        raise InvalidArgumentError(
            f"The evaluation {evaluation.name!r} holds no relevant document, so that none can be missed. Make it "
            f"with evaluate() and qrels that have relevance 1 or more."
        )
    if unfiltered is not None and (missing := evaluation.ranking.keys() - unfiltered.ranking.keys()):
        raise InvalidArgumentError(
            f"unfiltered lacks {len(missing)} queries of the evaluation: {some(missing)}. Evaluate both with the "
            f"same queries and qrels."
        )


def _notes(counted: Mapping[Fate, int], *, indexed: bool) -> list[str]:
    notes = []
    unknown = counted["not_recalled"] + counted["not_returned"]
    if unknown and not indexed:
        notes.append(
            "Documents that are not in the store are not told apart from those not found: indexed was not given."
        )
    if counted["not_returned"]:
        notes.append(
            "The retriever has no explain(), so what it did not return may have been recalled and ranked out."
        )
    return notes

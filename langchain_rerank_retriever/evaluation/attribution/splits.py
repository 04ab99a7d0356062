"""How much of a measure each fate costs, so that the costs add up to what is missing to 1."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from langchain_rerank_retriever.evaluation.attribution.fates import FATES, RECALL_FATES, Fate, LostDocument
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.evaluation.result import Evaluation

Loss = Fate | Literal["cutoff", "order"]


@dataclass(frozen=True, slots=True)
class ErrorSplit:
    """What is missing of one measure to 1, by cause; means over the queries that have a relevant document.

    Attributes:
        measure: Canonical name.
        value: Its mean.
        ceiling: What a perfect order of all that was recalled would reach.
        lost: What each cause costs, in the measure's own units and in the order of a query's way. `"cutoff"`: more
            documents are relevant than k. A fate: what the best order of the relevant documents still on their way
            loses as those of this fate leave it. `"order"`: the rest, documents among the first k that stand too low.
    """

    measure: str
    value: float
    ceiling: float
    lost: Mapping[Loss, float]

    @property
    def lost_to_recall(self) -> float:
        """What no order of the candidates can mend: documents not in the store, filtered or not recalled."""
        return sum(self.lost.get(fate, 0.0) for fate in RECALL_FATES)

    @property
    def lost_to_ordering(self) -> float:
        """What a perfect order of the candidates would gain."""
        return self.ceiling - self.value

    @property
    def lost_to_either(self) -> float:
        """What a retriever without `explain()` did not return, not recalled or ranked out."""
        return self.lost.get("not_returned", 0.0)

    @property
    def out_of_reach(self) -> float:
        """What no retriever could have: more documents are relevant than k."""
        return self.lost["cutoff"]


def split_errors(
    evaluation: Evaluation, lost: Sequence[LostDocument], measures: Sequence[str]
) -> tuple[ErrorSplit, ...]:
    """Divide what is missing of each measure among the fates.

    Args:
        evaluation: With a relevant document for at least one query.
        lost: Its missed documents.
        measures: With the cutoff that they were missed at.
    """
    relevant = {
        query_id: {document_id: grade for document_id, grade in judged.items() if grade > 0}
        for query_id, judged in evaluation.qrels.items()
    }
    relevant = {query_id: grades for query_id, grades in relevant.items() if grades}
    judge = Judge({query_id: evaluation.qrels[query_id] for query_id in relevant}, measures)
    fate_of = {(one.query_id, one.document_id): one.fate for one in lost}
    best = [judge(_best_orders(relevant)).means]
    for fate in FATES:
        met = {key for key, theirs in fate_of.items() if theirs == fate}
        relevant = {
            query_id: {name: grade for name, grade in grades.items() if (query_id, name) not in met}
            for query_id, grades in relevant.items()
        }
        best.append(judge(_best_orders(relevant)).means if met else best[-1])
    actual = judge({query_id: evaluation.ranking[query_id] for query_id in relevant}).means
    return tuple(_split(measure, best, actual) for measure in judge.measures)


def _best_orders(relevant: Mapping[str, Mapping[str, int]]) -> dict[str, list[str]]:
    """Put the most relevant first."""
    return {query_id: sorted(grades, key=lambda name: -grades[name]) for query_id, grades in relevant.items()}


def _split(measure: str, best: Sequence[Mapping[str, float]], actual: Mapping[str, float]) -> ErrorSplit:
    values = [means[measure] for means in best]
    lost: dict[Loss, float] = {"cutoff": 1.0 - values[0]}
    for place, fate in enumerate(FATES):
        lost[fate] = values[place] - values[place + 1]
    lost["order"] = values[-1] - actual[measure]
    ceiling = values[FATES.index("not_returned") + 1]
    return ErrorSplit(measure, actual[measure], ceiling, lost)

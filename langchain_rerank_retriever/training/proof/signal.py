"""Do the labels say anything? Random or shuffled ones must not choose what is shipped.

If which documents are judged relevant has nothing to do with the query, then the labels of one query are as well found
in the answer to any other: what a system finds must stand out from what it finds when the labels are dealt out to
the queries anew. This permutation test holds at every number of queries and documents, whichever documents a
system favours, and however often one is judged relevant.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from langchain_rerank_retriever.recall.fusion import Floats
from langchain_rerank_retriever.training.proof.fit_blend import Qrels
from langchain_rerank_retriever.training.proof.systems import Rankings

#: How often labels without any signal may pass for ones with.
LEVEL = 0.01
PERMUTATIONS = 2_000

AT_CHANCE = "the judged positives are found no better than chance"


@dataclass(frozen=True, slots=True)
class Signal:
    """Whether some system finds the judged positives better than chance.

    Attributes:
        found: Of the system that stands out most: the mean share of a query's judged positives that it finds, each
            counted 1 / log2(1 + rank), rank from 1.
        expected: The same if the labels are dealt out to the queries anew.
        p_value: How often chance does as well, over all systems together; 1.0 where it cannot be told.
        ok: Whether the labels may decide: False only where it can be told, and chance explains what was found.
        system: The one that `found` is of.
    """

    found: float
    expected: float
    p_value: float
    ok: bool
    system: str


def warning(signal: Signal) -> str:
    """Say in words that the labels say nothing."""
    return f"The labels look random or shuffled: {AT_CHANCE} by any system (p = {signal.p_value:.2g})."


def at_chance(chosen: str) -> str:
    """Say in words what is shipped where the labels say nothing, and why."""
    return (
        f"Nothing trained is promoted; {chosen}, which is untuned, is shipped. In the held-out queries {AT_CHANCE} by "
        "any system, so the labels look random or shuffled and can prove nothing. Check that each query is paired "
        "with its own document."
    )


def labels_carry_signal(answers: Mapping[str, Rankings], qrels: Qrels, *, seed: int) -> Signal:
    """Test whether any system finds the judged positives of held-out queries better than chance.

    Garbage cannot be predicted on queries that were held out, by whatever system; so one that stands out is enough,
    be it untuned or tuned.

    Args:
        answers: System name to {query id: document ids, best first}, over the same queries; none may have been fitted
            on these labels.
        qrels: Judgements of these queries; above 0 is relevant.
        seed: Of the permutations.

    Returns:
        The outcome. The p-value is that of the largest standardised value over all systems, against the largest in
        each permutation (Westfall and Young 1993, single-step maxT), which corrects for their number.
    """
    queries = sorted(qrels)
    shares = {name: _shares(ranked, qrels, queries) for name, ranked in answers.items()}
    places = np.arange(len(queries))
    rng = np.random.default_rng(seed)
    deals = np.array([places, *(rng.permutation(places) for _ in range(PERMUTATIONS))])
    # Row 0 is the labels as they are, every other row one deal.
    means = np.array([share[places, deals].mean(axis=1) for share in shares.values()]).T
    expected, spread = means[1:].mean(axis=0), means[1:].std(axis=0)
    # The same answer to every query is as good for any labels, but for rounding.
    differs = spread > 1e-12
    standing = np.where(differs, (means - expected) / np.where(differs, spread, 1.0), 0.0)
    best = int(standing[0].argmax())
    largest = standing.max(axis=1)
    # What is equal but for rounding is equal.
    p_value = float(np.mean(largest >= largest[0] - 1e-9))
    can_tell = _log_deals(qrels) > -math.log(LEVEL)
    return Signal(
        found=float(means[0, best]),
        expected=float(expected[best]),
        p_value=p_value if can_tell else 1.0,
        ok=not can_tell or p_value <= LEVEL,
        system=list(answers)[best],
    )


def _shares(ranked: Rankings, qrels: Qrels, queries: list[str]) -> Floats:
    """Judge the answer to every query by the labels of every query.

    Returns:
        Shape ``(queries, queries)``: row is the answer, column the labels.
    """
    wanted: dict[str, list[tuple[int, float]]] = {}
    for column, query in enumerate(queries):
        positives = [key for key, relevance in qrels[query].items() if relevance > 0]
        for key in positives:
            wanted.setdefault(key, []).append((column, 1.0 / len(positives)))
    shares = np.zeros((len(queries), len(queries)))
    for row, query in enumerate(queries):
        for rank, key in enumerate(ranked[query], start=1):
            for column, share in wanted.get(key, ()):
                shares[row, column] += share / math.log2(1 + rank)
    return shares


def _log_deals(qrels: Qrels) -> float:
    """Return the logarithm of the number of different ways to deal the labels out.

    Fewer than 100, and no outcome could be rarer than 1 in 100: with four queries, or where nearly all share one
    positive document, chance can never be excluded.
    """
    alike = Counter(
        frozenset(key for key, relevance in one.items() if relevance > 0) for one in qrels.values()
    )
    return math.lgamma(len(qrels) + 1) - sum(math.lgamma(count + 1) for count in alike.values())

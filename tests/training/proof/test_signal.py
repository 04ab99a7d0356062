"""Do the labels say anything? False alarms and power where the truth is known, and the arithmetic by brute force."""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest

from langchain_rerank_retriever.training.proof.signal import LEVEL, labels_carry_signal

Answers = dict[str, dict[str, list[str]]]
Qrels = dict[str, dict[str, int]]


def simulated(
    rng: np.random.Generator, *, queries: int, documents: int, strengths: tuple[float, ...], targets: int = 0
) -> tuple[Answers, Qrels]:
    """Answers by inner products of vectors; a query is `strength` times its document plus noise.

    Args:
        strengths: One for each system.
        targets: How many documents share the labels; 0 is all of them.
    """
    labels = rng.integers(0, targets or documents, queries)
    answers = {}
    for number, strength in enumerate(strengths):
        vectors = rng.normal(size=(documents, 16))
        asked = strength * vectors[labels] + rng.normal(size=(queries, 16))
        # Some documents are near to every query, as in real vector spaces.
        scores = asked @ vectors.T + rng.normal(size=documents)
        answers[f"s{number}"] = {
            f"q{place}": [f"d{one}" for one in np.argsort(-scores[place])[:100]] for place in range(queries)
        }
    return answers, {f"q{place}": {f"d{label}": 1, "other": 0} for place, label in enumerate(labels)}


SIZES = [(26, 60, 0), (26, 60, 5), (60, 400, 0), (8, 1000, 0)]


@pytest.mark.parametrize(("queries", "documents", "targets"), SIZES)
def test_random_labels_seldom_pass(queries: int, documents: int, targets: int) -> None:
    rng = np.random.default_rng(queries + targets)
    passed = 0
    for seed in range(50):
        answers, qrels = simulated(
            rng, queries=queries, documents=documents, strengths=(0.0,) * 5, targets=targets
        )
        passed += labels_carry_signal(answers, qrels, seed=seed).ok
    assert passed <= 3  # P(more than 3 of 50) is 0.0016 at 1 %


def test_shuffled_labels_seldom_pass() -> None:
    """Systems that find everything, held against labels that were dealt out anew."""
    rng = np.random.default_rng(2)
    passed = 0
    for seed in range(50):
        answers, qrels = simulated(rng, queries=40, documents=200, strengths=(2.0, 2.0))
        shuffled = dict(zip(qrels, rng.permutation(list(qrels.values())), strict=True))
        assert labels_carry_signal(answers, qrels, seed=seed).ok
        passed += labels_carry_signal(answers, shuffled, seed=seed).ok
    assert passed <= 3


@pytest.mark.parametrize(("queries", "documents", "targets"), SIZES)
def test_true_labels_pass(queries: int, documents: int, targets: int) -> None:
    rng = np.random.default_rng(queries)
    for seed in range(20):
        answers, qrels = simulated(
            rng, queries=queries, documents=documents, strengths=(1.0,), targets=targets
        )
        signal = labels_carry_signal(answers, qrels, seed=seed)
        assert signal.ok
        assert signal.p_value <= LEVEL


def test_one_system_that_finds_something_is_enough() -> None:
    """An untuned model of another language finds nothing; the tuned one tells that the labels are good."""
    rng = np.random.default_rng(0)
    for seed in range(20):
        answers, qrels = simulated(
            rng, queries=30, documents=300, strengths=(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
        )
        signal = labels_carry_signal(answers, qrels, seed=seed)
        assert signal.ok
        assert signal.system == "s3"


def by_hand(ranked: Mapping[str, list[str]], deal: Mapping[str, Mapping[str, int]]) -> float:
    total = 0.0
    for query, labels in deal.items():
        positives = [key for key, relevance in labels.items() if relevance > 0]
        for key in positives:
            if key in ranked[query]:
                total += 1 / math.log2(2 + ranked[query].index(key)) / len(positives) / len(deal)
    return total


def test_against_every_permutation() -> None:
    qrels: Qrels = {
        "a": {"x": 1, "y": 2},
        "b": {"z": 1},
        "c": {"x": 1, "w": 0},
        "d": {"v": 1},
        "e": {"u": 3, "x": 0},
        "f": {"t": 1},
    }
    ranked = {
        "a": ["y", "z", "x"],
        "b": ["u", "z", "w"],
        "c": ["x"],
        "d": ["v", "x", "y"],
        "e": ["t", "x", "u"],
        "f": [],
    }
    signal = labels_carry_signal({"only": ranked}, qrels, seed=0)
    values = [
        by_hand(ranked, dict(zip(qrels, deal, strict=True)))
        for deal in itertools.permutations(qrels.values())
    ]
    assert signal.found == pytest.approx(values[0])
    assert signal.expected == pytest.approx(np.mean(values), abs=0.02)
    exact = np.mean(np.array(values) >= values[0] - 1e-9)
    assert signal.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact / 2000))


@pytest.mark.parametrize(
    "labels",
    [
        ["x"] * 40,
        ["x"] * 39 + ["y"],  # 40 ways to deal them out
        ["x", "y", "z", "w"],  # 24
        ["x"],
    ],
)
def test_what_cannot_be_told_is_no_alarm(labels: list[str]) -> None:
    qrels = {f"q{place}": {label: 1} for place, label in enumerate(labels)}
    signal = labels_carry_signal({"one": {key: ["no", "x"] for key in qrels}}, qrels, seed=0)
    assert signal.ok
    assert signal.p_value == 1.0


@pytest.mark.parametrize("answer", [[], ["d1", "d2", "d3"]])
def test_the_same_answer_to_every_query_finds_nothing(answer: list[str]) -> None:
    qrels = {f"q{place}": {f"d{place % 7}": 1} for place in range(30)}
    signal = labels_carry_signal({"one": dict.fromkeys(qrels, answer)}, qrels, seed=0)
    assert not signal.ok
    assert signal.p_value == 1.0
    assert signal.found == pytest.approx(signal.expected)

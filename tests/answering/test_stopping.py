"""When a query's best candidates are far enough ahead, from scores given by hand."""

from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever.answering.stopping import stopping
from langchain_rerank_retriever.blend import BlendVariant
from langchain_rerank_retriever.early_stop import EarlyStop
from langchain_rerank_retriever.recall import Candidate

LOOKS = {2: (1.0, 0.0), 4: (1.0, 0.0)}
#: Raw scores and equal weights, so that everything can be worked out in the head.
VARIANT = BlendVariant({"rerank": 1.0, "dense": 1.0}, 1.0, 0.0, "raw", EarlyStop(6, (1.0, 1.5, None), LOOKS))
NAN = float("nan")


def candidates(dense: list[float], parents: str = "") -> list[Candidate]:
    return [
        Candidate(
            Document(page_content="", metadata={"of": parents[place]} if parents else {}), one, one, None
        )
        for place, one in enumerate(dense)
    ]


def enough(dense: list[float], rerank: list[float], *, k: int, parents: str = "") -> bool:
    rule = stopping(candidates(dense, parents), VARIANT, k=k, fetch_k=6, collapse="of" if parents else None)
    assert rule is not None
    return rule.enough(np.array(rerank))


def test_the_looks_are_those_that_were_fitted() -> None:
    rule = stopping(candidates([1.0]), VARIANT, k=1, fetch_k=6, collapse=None)
    assert rule is not None
    assert rule.looks == (2, 4)


@pytest.mark.parametrize("best", [1.0, 4.0])
def test_a_lead_of_exactly_the_margin_is_enough(best: float) -> None:
    # Mean and deviation of the re-rank scores are both `best`: against an unscored candidate with the recall score d,
    # the lead is (2 x best - best - d) / best.
    assert enough([0.0, 0.0, 0.0], [0.0, 2 * best, NAN], k=1)
    assert not enough([0.0, 0.0, 0.001], [0.0, 2 * best, NAN], k=1)


def test_the_last_of_k_must_be_ahead() -> None:
    # Mean 6, deviation 6: places 1 and 2 are at 12 and 0.
    assert enough([0.0, 0.0, -20.0], [12.0, 0.0, NAN], k=1)
    assert enough([0.0, 0.0, -20.0], [12.0, 0.0, NAN], k=2)  # (0 - 6 + 20) / 6 = 2.33 >= 1.5
    assert not enough([0.0, 0.0, -14.9], [12.0, 0.0, NAN], k=2)  # 1.48


def test_no_margin_no_stop() -> None:
    scored = [9.0, 8.0, 7.0, NAN]
    assert enough([0.0, 0.0, 0.0, -1e9], scored, k=2)
    assert not enough([0.0, 0.0, 0.0, -1e9], scored, k=3)  # None was found
    assert not enough([0.0, 0.0, 0.0, -1e9], scored, k=4)  # none was fitted
    assert not enough([0.0, -1e9, -1e9], [9.0, NAN, NAN], k=2)  # fewer are scored than are returned


def test_parents_are_counted_and_the_place_decides() -> None:
    far = [0.0, 0.0, 0.0, -1e9]
    scored = [9.0, 8.0, 7.0, NAN]
    # The second parent stands at place 2; at place 3, for which there is no margin; or nowhere.
    assert enough(far, scored, k=2, parents="abcd")
    assert not enough(far, scored, k=2, parents="aabb")
    assert not enough(far, scored, k=2, parents="aaab")
    assert enough(far, scored, k=1, parents="aaab")


def test_what_has_no_parent_stands_for_itself() -> None:
    found = candidates([0.0, 0.0, 0.0, -1e9])
    rule = stopping(found, VARIANT, k=2, fetch_k=6, collapse="of")
    assert rule is not None
    assert rule.enough(np.array([9.0, 8.0, 7.0, NAN]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"variant": None},
        {"variant": BlendVariant({"rerank": 1.0, "dense": 1.0}, 1.0, 0.0)},
        {"fetch_k": 7},
    ],
)
def test_what_was_not_fitted_is_not_stopped(wrong: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"variant": VARIANT, "k": 1, "fetch_k": 6, "collapse": None} | wrong
    assert stopping(candidates([1.0]), arguments.pop("variant"), **arguments) is None

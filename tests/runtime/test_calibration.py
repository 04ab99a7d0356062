"""Texts to calibrate with: those that come with Python, and the user's own."""

import subprocess
import sys
from typing import Any

import pytest

from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.runtime.choosing.calibration import (
    TEXTS,
    checked_calibration,
    default_calibration,
)


def test_texts_that_come_with_python() -> None:
    texts = default_calibration(pairs=False)
    assert len(set(texts)) == len(texts) == TEXTS
    lengths = sorted(len(text) for text in texts)
    # Long ones and short ones, so that all lengths of a batch are seen.
    assert 80 <= lengths[0] < 200
    assert lengths[-1] > 2000
    assert all(text == " ".join(text.split()) for text in texts)
    # English of some breadth, and not the same sentence again.
    words = {word.lower().strip(".,()") for text in texts for word in text.split()}
    assert len(words) > 1500
    assert {"the", "argument", "file", "number"} <= words
    assert default_calibration(pairs=False) == texts


def test_pairs_that_come_with_python() -> None:
    texts, pairs = default_calibration(pairs=False), default_calibration(pairs=True)
    assert len(pairs) == TEXTS
    for (first, second), text in zip(pairs, texts, strict=True):
        assert first.strip()
        assert second.strip()
        assert text in (f"{first}. {second}", second)


def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, check=False, timeout=100
    )


CALIBRATE = "from langchain_rerank_retriever.runtime.choosing.calibration import default_calibration as d; "


def test_no_window_system_is_needed_and_nothing_is_printed() -> None:
    # Many images of Python come without tkinter.
    hidden = "import sys; sys.modules['tkinter'] = sys.modules['_tkinter'] = None; "
    done = run(hidden + CALIBRATE + "assert len(d(pairs=True)) == 128")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_python_without_docstrings() -> None:
    done = run(CALIBRATE + "d(pairs=False)", "-OO")
    assert (
        "InvalidArgumentError: precision='int8' without texts of your own needs the docstrings" in done.stderr
    )
    assert "Give calibration=[...]" in done.stderr


def test_none_given() -> None:
    assert checked_calibration(None, pairs=False) is None
    assert checked_calibration(None, pairs=True) is None


def test_those_given_are_kept_as_they_are() -> None:
    texts = [f"text {number}" for number in range(32)]
    checked = checked_calibration(texts, pairs=False)
    assert checked == texts
    assert checked is not texts
    pairs = [[text, "passage"] for text in texts]
    assert checked_calibration(pairs, pairs=True) == [(text, "passage") for text in texts]
    assert checked_calibration((text for text in texts), pairs=False) == texts


@pytest.mark.parametrize(
    ("given", "pairs", "message"),
    [
        (["a"] * 31, False, "calibration: expected at least 32 texts, better 128, got 31"),
        ([], False, "at least 32 texts, better 128, got 0"),
        ([("a", "b")] * 5, True, "at least 32 pairs, better 128, got 5"),
        ("one text", False, "expected a list of str, got str"),
        (["a", 3], False, r"texts\[1\]: expected str, got int"),
        (["a"] * 40, True, r"text_pairs\[0\]: expected \(query, passage\)"),
        ([("a", "\ud800")] * 40, True, "lone surrogate"),
    ],
)
def test_what_cannot_be_calibrated_with(given: Any, pairs: bool, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        checked_calibration(given, pairs=pairs)
    # Before anything is loaded.
    make: Any = CrossEncoderScorer if pairs else PooledEmbeddings
    with pytest.raises(InvalidArgumentError, match=message):
        make("no-such-folder", precision="int8", calibration=given)

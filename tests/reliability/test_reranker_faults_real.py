"""Faults of real cross-encoders: what is far too long, far too much, or has two labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever import CrossEncoderScorer, FaissStore, RerankRetriever
from langchain_rerank_retriever.runtime.choosing.clock import Clock
from tests.runtime import tiny
from tests.store.helpers import FastEmbeddings

from .scale import at_scale

MEGABYTE = 2**20
#: What answering may take beside the model, however many candidates there are and however long they are.
MEMORY = 500 * MEGABYTE


@pytest.fixture
def two_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Clock, "best", lambda _, runs: dict.fromkeys(runs, 1.0))
    folder = tiny.save_classifier(tmp_path / "two", "bert", labels=2)
    with CrossEncoderScorer(folder, precision="float32") as scorer:
        yield scorer


def words(rng: np.random.Generator, count: int) -> str:
    return " ".join(rng.choice(tiny.WORDS, count))


def memory(name: str) -> int:
    """``VmRSS`` or ``VmHWM``, the most there was, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def test_two_labels_order_by_relevant_minus_not_relevant(
    goal: Any, seed: int, two_labels: CrossEncoderScorer
) -> None:
    rng = np.random.default_rng(seed)
    texts = [words(rng, int(size)) for size in rng.integers(1, 40, 20)]
    logits = two_labels.load_trainable().predict([("the cat", text) for text in texts])
    expected = logits[:, 1] - logits[:, 0]
    with FaissStore.from_texts(texts, FastEmbeddings()) as store, goal("G16") as count:
        found = RerankRetriever(store, reranker=two_labels, k=20).invoke("the cat")
        assert len(found) == 20
        for one in found:
            right = expected[texts.index(one.page_content)]
            assert one.metadata["rerank_score"] == pytest.approx(right, abs=1e-4)
        scores = [one.metadata["rerank_score"] for one in found]
        assert scores == sorted(scores, reverse=True)
        count.done += 1


def test_a_text_of_a_megabyte_is_read_in_part_and_says_so(
    goal: Any, seed: int, two_labels: CrossEncoderScorer
) -> None:
    rng = np.random.default_rng(seed)
    head = words(rng, 200)
    huge = {"of words": head + " cat" * (MEGABYTE // 4), "without a space": "x" * MEGABYTE}
    with goal("G16") as count:
        for text in huge.values():
            with FaissStore.from_texts([text, "a small cat"], FastEmbeddings()) as store:
                explained = RerankRetriever(store, reranker=two_labels).explain("the cat")
            cut = {len(one.document.page_content) >= MEGABYTE: one.truncated for one in explained.candidates}
            assert cut[False] is False
            assert all(one.rerank_score is not None for one in explained.candidates)
            count.done += 1
        # Of what is cut, only the head counts.
        long, short = two_labels.score([("the cat", huge["of words"]), ("the cat", head)])
        assert long == pytest.approx(short, abs=1e-4)
        huge_query = two_labels.score([(head * 100, "a small cat")])
        assert np.isfinite(huge_query).all()
        count.done += 2


def test_memory_is_bounded_with_many_candidates_of_mixed_length(
    goal: Any, seed: int, two_labels: CrossEncoderScorer
) -> None:
    rng = np.random.default_rng(seed)
    size = at_scale(600, 2_000, 10_000)
    lengths = (rng.lognormal(4, 1, size)).astype(int) + 1
    texts = [words(rng, int(length)) for length in lengths]
    texts[size // 2] = "cat " * (MEGABYTE // 4)
    vectors = rng.standard_normal((size, 16))
    with FaissStore(FastEmbeddings()) as store, goal("G16") as count:
        store.add_embeddings(texts, vectors)
        retriever = RerankRetriever(store, reranker=two_labels, k=10, fetch_k=size)
        retriever.invoke("warm", fetch_k=100)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = memory("VmRSS")
        explained = retriever.explain("the cat")
        grown = memory("VmHWM") - before
        assert explained.scored == size
        scores = [one.rerank_score for one in explained.candidates]
        assert scores == sorted(scores, reverse=True)
        assert grown <= MEMORY
        count.done += 1
        count.note = (
            f"{size} candidates of {sum(map(len, texts)) / MEGABYTE:.0f} MB took {grown / MEGABYTE:.0f} MB"
        )

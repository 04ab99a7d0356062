"""Real models that many threads use at once give what they give alone."""

import random
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings
from langchain_rerank_retriever.runtime.backend import Row
from langchain_rerank_retriever.runtime.choosing.clock import Clock

from .scale import at_scale

THREADS = 8
#: Models of one folder that cut at different lengths: with one tokenizer between them, one would cut for another.
LENGTHS = (24, 128)
TOKENISATIONS = at_scale(500, 4_000, 20_000)
ENCODES = at_scale(16, 120, 2_000)
_WORDS = (
    "a model reads the passage and scores it against question of user , whose words may differ from those "
    "in index ; retrieval 검색 문서 crème Straße naïve antidisestablishmentarianism 12,345.67 e-mail !"
)
WORDS = _WORDS.split()


@pytest.fixture(scope="module")
def settings() -> Iterator[dict[str, Any]]:
    """How all models here are loaded: nothing is timed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Clock, "best", lambda _, runs: dict.fromkeys(runs, 1.0))
        yield {"backend": "torch", "precision": "float32"}


@pytest.fixture(scope="module")
def cross_encoder(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head on the bi-encoder's language model, as training leaves it."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("cross-encoder")
    made = AutoModelForSequenceClassification.from_pretrained(minilm_folder, num_labels=1)
    # A new head's scores differ in the third digit only.
    made.classifier.weight.data.normal_(std=1.0)
    made.save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm_folder).save_pretrained(folder)
    return folder


def text(rng: random.Random, most: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, most)))


def in_threads(jobs: Sequence[Callable[[], None]]) -> None:
    """Run jobs in threads that begin together; raise what any raised."""
    begin = threading.Barrier(THREADS)

    def work(mine: Sequence[Callable[[], None]]) -> None:
        begin.wait(60)
        for job in mine:
            job()

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work, jobs[place::THREADS]) for place in range(THREADS)]:
            done.result()


def digest(ids: Sequence[int]) -> float:
    """A number that float32 holds exactly."""
    return float(zlib.crc32(np.asarray(ids, np.int64).tobytes()) % 2**24)


def only_read(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a model its tokenizer, and have it give a digest of the tokens instead of running them."""

    def run(rows: Sequence[Row]) -> Any:
        features = backend._rows.collate(rows)
        masks = features["attention_mask"].numpy().astype(bool)
        ids = features["input_ids"].numpy()
        return np.array([digest(row[mask]) for row, mask in zip(ids, masks, strict=True)], np.float32)

    backend: Any = model._worker._backend
    monkeypatch.setattr(backend, "run", run)


@pytest.fixture(scope="module")
def bi_encoders(minilm_folder: Path, settings: dict[str, Any]) -> Iterator[list[PooledEmbeddings]]:
    models = [PooledEmbeddings(minilm_folder, max_seq_length=size, **settings) for size in LENGTHS]
    yield models
    for model in models:
        model.close()


def test_tokenisations(
    goal: Any,
    seed: int,
    minilm_folder: Path,
    bi_encoders: list[PooledEmbeddings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every thread's texts are cut where its own model ends, not where another's does."""
    from transformers import AutoTokenizer

    truth = AutoTokenizer.from_pretrained(minilm_folder)
    for model in bi_encoders:
        only_read(model, monkeypatch)
    rng = random.Random(seed)
    texts = [text(rng, 200) for _ in range(200)]
    tokens = {
        (size, one): digest(truth(one, truncation=True, max_length=size)["input_ids"])
        for size in LENGTHS
        for one in texts
    }
    wrong: list[str] = []

    def job(some: list[str], place: int) -> Callable[[], None]:
        def run() -> None:
            found = bi_encoders[place].encode(some)
            right = [tokens[LENGTHS[place], one] for one in some]
            wrong.extend(one for one, mine, theirs in zip(some, found, right, strict=True) if mine != theirs)

        return run

    with goal("G15") as count:
        jobs = [
            job(rng.choices(texts, k=rng.choice((1, 1, 2, 7))), number % len(LENGTHS))
            for number in range(TOKENISATIONS)
        ]
        in_threads(jobs)
        count.done += len(jobs)
        count.failures += len(wrong)
        assert wrong == []


def test_encodes_and_scores(
    goal: Any, seed: int, bi_encoders: list[PooledEmbeddings], cross_encoder: Path, settings: dict[str, Any]
) -> None:
    """Two bi-encoders and a cross-encoder, all at once and in batches of every shape."""
    rng = random.Random(seed)
    with CrossEncoderScorer(cross_encoder, max_length=64, **settings) as scorer, goal("G15") as count:
        models: list[Any] = [*bi_encoders, scorer]
        known = [
            (model, some, _values(model, some))
            for number in range(at_scale(12, 24, 48))
            for model in [models[number % 3]]
            for some in [[text(rng, rng.choice((5, 20, 60))) for _ in range(rng.choice((1, 2, 6)))]]
        ]
        furthest = _compare_in_threads(rng, known, tolerance=1e-4)
        count.done += ENCODES
        count.note = f"furthest from the serial run {furthest:.0e}"


@pytest.mark.slow  # loads yet another model
def test_in_the_precision_that_is_chosen_here(
    goal: Any, seed: int, minilm_folder: Path, settings: dict[str, Any]
) -> None:
    """Half as many digits where bf16 is taken, and even then the same as alone."""
    rng = random.Random(seed)
    with PooledEmbeddings(minilm_folder, backend="torch") as model, goal("G15") as count:
        known = [(model, some, _values(model, some)) for some in ([text(rng, 30)] for _ in range(8))]
        tolerance = 1e-4 if model.precision == "float32" else 2e-2
        furthest = _compare_in_threads(rng, known, tolerance=tolerance)
        count.done += ENCODES
        count.note = f"{model.precision}: furthest from the serial run {furthest:.0e}"


def _values(model: Any, some: list[str]) -> Any:
    if isinstance(model, CrossEncoderScorer):
        return np.array(model.score([("what does a model read", one) for one in some]))
    return model.encode(some, kind="query" if len(some) == 1 else "document")


def _compare_in_threads(
    rng: random.Random, known: Sequence[tuple[Any, list[str], Any]], *, tolerance: float
) -> float:
    """Ask again for what is known, from many threads; return the largest difference."""
    furthest = [0.0]

    def job(model: Any, some: list[str], expected: Any) -> Callable[[], None]:
        def run() -> None:
            found = _values(model, some)
            np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)
            furthest.append(float(np.abs(found - expected).max()))

        return run

    in_threads([job(*rng.choice(known)) for _ in range(ENCODES)])
    return max(furthest)

"""What `bench` measures with: operations, the machine's peak, times in turns, queries made of documents."""

import asyncio
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_rerank_retriever.benchmark import timing, work
from langchain_rerank_retriever.benchmark.sampling import draw_documents, first_sentence, queries_from
from langchain_rerank_retriever.benchmark.timing import LoopWatch, percentiles_ms, spread, take_turns
from langchain_rerank_retriever.benchmark.work import ForwardCost, forward_cost, matrix_peak
from langchain_rerank_retriever.errors import FormatError
from tests.training.conftest import cross_encoder, language_model

from .counted import counted

__all__ = ["cross_encoder", "language_model"]

# ---------------------------------------------------------------- operations


@pytest.mark.parametrize("words", [1, 30, 100])
def test_operations_of_a_cross_encoder(cross_encoder: Path, words: int) -> None:
    texts = ["whale " * words] * 3
    tokens = 3 * (words + 2)
    cost = forward_cost(cross_encoder)
    assert cost is not None
    assert cost.of(3, tokens) == pytest.approx(counted(cross_encoder, texts), rel=0.02)


def test_operations_of_the_small_model(minilm_folder: Path) -> None:
    """Six layers of 384, with 1,536 inside: written out as multiplications and additions."""
    width, inside, layers, tokens = 384, 1536, 6, 210
    linear = 2 * tokens * (4 * width * width + 2 * width * inside)
    attention = 2 * 2 * tokens * tokens * width
    pooler = 2 * width * width
    cost = forward_cost(minilm_folder)
    assert cost is not None
    assert cost.of(1, tokens) == layers * (linear + attention) + pooler
    assert cost.of(10, 10 * tokens) == pytest.approx(10 * cost.of(1, tokens))


def config_of(kind: str) -> Any:
    import transformers

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return {
        "roberta": lambda: transformers.RobertaConfig(**small),
        "xlm-roberta": lambda: transformers.XLMRobertaConfig(**small),
        "mpnet": lambda: transformers.MPNetConfig(**small),
        "distilbert": lambda: transformers.DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64),
    }[kind]()


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "mpnet", "distilbert"])
def test_operations_of_other_architectures(tmp_path: Path, kind: str) -> None:
    config_of(kind).save_pretrained(tmp_path)
    cost = forward_cost(tmp_path)
    assert cost is not None
    assert cost.per_token == 2 * 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert cost.per_square == 2 * 4 * 32


def test_a_module_folder_is_followed(cross_encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "0_Transformer").mkdir()
    (tmp_path / "0_Transformer" / "config.json").write_bytes((cross_encoder / "config.json").read_bytes())
    (tmp_path / "modules.json").write_text('[{"path": "0_Transformer"}]', encoding="utf-8")
    assert forward_cost(tmp_path) == forward_cost(cross_encoder)
    (tmp_path / "modules.json").write_text('{"path": 1}', encoding="utf-8")
    with pytest.raises(FormatError, match=r"modules\.json is damaged"):
        forward_cost(tmp_path)


def test_unknown_operations(tmp_path: Path) -> None:
    """Of no transformer, and of one that looks at its numbers while it runs."""
    from transformers import DebertaV2Config

    assert forward_cost(tmp_path) is None
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    DebertaV2Config(**small).save_pretrained(tmp_path)
    assert forward_cost(tmp_path) is None


def test_no_rows_take_no_operations() -> None:
    assert ForwardCost(1.0, 2.0, 3.0).of(0, 0) == 0.0
    assert ForwardCost(1.0, 2.0, 3.0).of(2, 20) == 2 * (1 + 2 * 10 + 3 * 100)


def clock_of(taken: list[float]) -> SimpleNamespace:
    """A clock that is asked before and after each of some products, which take so long."""
    readings = itertools.chain.from_iterable(
        (100 * number, 100 * number + one) for number, one in enumerate(taken)
    )
    return SimpleNamespace(perf_counter=lambda: next(readings))


@pytest.mark.parametrize(
    ("taken", "fastest"),
    [
        ([0.001, 0.5, 0.25], 0.25),  # the first is for setting up, however fast it was
        ([0.05, 0.1, 0.2, 0.08], 0.08),  # three were not long enough
    ],
)
def test_the_peak_is_that_of_the_fastest_product(
    monkeypatch: pytest.MonkeyPatch, taken: list[float], fastest: float
) -> None:
    monkeypatch.setattr(work, "_EDGES", (8, 16))
    monkeypatch.setattr(work, "time", clock_of(taken))
    assert matrix_peak("float32") == pytest.approx(2 * 8 * 8 * 8 / fastest)


def test_a_larger_product_is_tried_after_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_EDGES", (8, 16, 32))
    monkeypatch.setattr(work, "time", clock_of([0.3, 0.02, 0.3, 0.3, 0.1, 0.4]))
    assert matrix_peak("bfloat16") == pytest.approx(2 * 16 * 16 * 16 / 0.1)


# ---------------------------------------------------------------- times


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=30))
def test_percentiles(seconds: list[float]) -> None:
    ordered = sorted(seconds)

    def interpolated(share: float) -> float:
        place = share * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (place - below) * (ordered[above] - ordered[below])

    found, quartiles = percentiles_ms(seconds), spread(seconds)
    assert found["p50"] == pytest.approx(1000 * interpolated(0.5))
    assert found["p95"] == pytest.approx(1000 * interpolated(0.95))
    expected = (interpolated(0.5), interpolated(0.25), interpolated(0.75))
    assert (quartiles.median, quartiles.low, quartiles.high) == pytest.approx(expected)
    assert quartiles.count == len(seconds)


def test_two_sides_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock goes on only while a side works, so that every duration is known."""
    clock, order = [0.0], []
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def side(name: str, factor: float) -> Callable[[int], None]:
        def work_on(given: int) -> None:
            order.append((name, given))
            clock[0] += factor * given

        return work_on

    race = take_turns(side("theirs", 6.0), side("ours", 2.0), [1, 2, 3])
    assert order == [("theirs", 1), ("ours", 1), ("ours", 2), ("theirs", 2), ("theirs", 3), ("ours", 3)]
    assert (race.theirs, race.ours) == ((6.0, 12.0, 18.0), (2.0, 4.0, 6.0))
    assert (race.ratio.median, race.ratio.low, race.ratio.high) == (3.0, 3.0, 3.0)


def busy(seconds: float) -> None:
    """Keep this thread busy for at least so long."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


@pytest.mark.parametrize("afterwards", [True, False])
async def test_a_blocked_loop_is_noticed(afterwards: bool) -> None:
    started = time.perf_counter()
    async with LoopWatch() as watch:
        await asyncio.sleep(0)
        busy(0.03)
        if afterwards:  # a tick comes late; without it, the block ends before any tick can
            await asyncio.sleep(0)
    assert 0.03 - timing.TICK_SECONDS <= watch.longest <= time.perf_counter() - started


# ---------------------------------------------------------------- queries


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A title\nA first sentence. A second.", "A title"),
        ("\n  \n One.  Two.", "One."),
        ("Version 1.2 of it! Yes", "Version 1.2 of it!"),
        ("한국어 문장이다. 둘째", "한국어 문장이다."),
        (" ".join(map(str, range(40))), " ".join(map(str, range(16)))),
        (" \n\t", ""),
        ("", ""),
    ],
)
def test_first_sentence(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_queries_are_different_and_the_same_for_a_seed() -> None:
    documents = [Document(page_content=text) for text in ("a b. c", "a b. d", " ", "e", "f g")]
    drawn = draw_documents(documents, seed=3)
    assert sorted(document.page_content for document in drawn) == ["a b. c", "a b. d", "e", "f g"]
    assert [one.page_content for one in drawn] == [
        one.page_content for one in draw_documents(iter(documents), seed=3)
    ]
    assert sorted(queries_from(drawn, 9)) == ["a b.", "e", "f g"]
    assert queries_from(drawn, 2) == queries_from(drawn, 9)[:2]
    assert queries_from([], 2) == queries_from([Document(page_content=" ")], 2) == []

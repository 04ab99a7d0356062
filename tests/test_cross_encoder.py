"""CrossEncoderScorer against sentence-transformers' own predict, on small random models."""

import asyncio
import copy
import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_rerank_retriever import CrossEncoderScorer, RerankRetriever
from langchain_rerank_retriever.errors import ClosedError, InvalidArgumentError, ModelLoadError, ScoringError
from langchain_rerank_retriever.protocols import PairScorer
from langchain_rerank_retriever.testing import HashEmbeddings

PAIRS = [
    ("what is a cat", "A cat is a small animal."),
    ("what is a cat", ""),
    ("", "A dog barks."),
    ("질문", "나만의 데이터에 맞는 모델"),
    ("what is a dog", "A dog barks at the cat in the garden. " * 12),
    ("what is a tree", "long " * 400),
    ("a", "b"),
]


def small_config(labels: int, positions: int = 512) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
        num_labels=labels,
        # Ten times the usual spread, so that scores of different pairs differ clearly.
        initializer_range=0.2,
    )


@pytest.fixture(scope="session")
def make_folder(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a small random sequence classifier."""
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    def make(labels: int = 1, positions: int = 512, **config: Any) -> Path:
        folder = tmp_path_factory.mktemp(f"classifier-{labels}")
        torch.manual_seed(labels)
        settings = small_config(labels, positions)
        for name, value in config.items():
            setattr(settings, name, value)
        BertForSequenceClassification(settings).save_pretrained(folder)
        AutoTokenizer.from_pretrained(minilm_folder).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def one_label(make_folder: Callable[..., Path]) -> Path:
    return make_folder(1)


@pytest.fixture(scope="session")
def two_labels(make_folder: Callable[..., Path]) -> Path:
    return make_folder(2)


@pytest.fixture(scope="session")
def of_modules(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder of Transformer, Pooling, Dense, Dense, as training from a bi-encoder leaves it."""
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(5)
    transformer = Transformer(str(minilm_folder))
    modules = [
        transformer,
        Pooling(384, "cls"),
        Dense(384, 32, activation_function=torch.nn.Tanh()),
        Dense(32, 1, activation_function=torch.nn.Identity(), module_output_name="scores"),
    ]
    folder = tmp_path_factory.mktemp("modules")
    CrossEncoder(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def scorer(one_label: Path) -> CrossEncoderScorer:
    return CrossEncoderScorer(one_label, precision="float32")


def logits(folder: Path, **kwargs: Any) -> np.ndarray:
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", **kwargs)
    return model.predict(PAIRS, activation_fn=torch.nn.Identity())


# ---------------------------------------------------------------- values


def test_one_label(scorer: CrossEncoderScorer, one_label: Path) -> None:
    np.testing.assert_allclose(scorer.score(PAIRS), logits(one_label), atol=1e-4)
    assert np.std(scorer.score(PAIRS)) > 0.1
    assert isinstance(scorer, BaseCrossEncoder)
    assert isinstance(scorer, PairScorer)


def test_two_labels_give_relevant_minus_not_relevant(two_labels: Path) -> None:
    expected = logits(two_labels)
    with CrossEncoderScorer(two_labels, precision="float32") as scorer:
        np.testing.assert_allclose(scorer.score(PAIRS), expected[:, 1] - expected[:, 0], atol=1e-4)


def test_a_model_of_modules(of_modules: Path) -> None:
    with CrossEncoderScorer(of_modules, precision="float32") as scorer:
        np.testing.assert_allclose(scorer.score(PAIRS), logits(of_modules), atol=1e-4)


@pytest.mark.parametrize("kind", ["one_label", "two_labels", "of_modules"])
def test_bfloat16_orders_the_same(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    pairs = [(query, passage[:length]) for query, passage in PAIRS for length in (5, 20, 60)]
    with (
        CrossEncoderScorer(folder, precision="float32") as single,
        CrossEncoderScorer(folder, precision="bfloat16") as half,
    ):
        assert np.corrcoef(single.score(pairs), half.score(pairs))[0, 1] > 0.999


@pytest.mark.parametrize("saved", ["torch.nn.modules.activation.Sigmoid", "torch.nn.modules.linear.Identity"])
def test_a_saved_activation_does_not_count(make_folder: Callable[..., Path], saved: str) -> None:
    folder = make_folder(1, sentence_transformers={"activation_fn": saved, "version": "4.0.0"})
    with CrossEncoderScorer(folder, precision="float32") as scorer:
        np.testing.assert_allclose(scorer.score(PAIRS), logits(folder), atol=1e-4)
        assert min(scorer.score(PAIRS)) < 0


def test_a_sigmoid_inside_the_head_does_not_count(of_modules: Path, tmp_path: Path) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(of_modules), device="cpu")
    model[-1].activation_function = torch.nn.Sigmoid()
    model.save_pretrained(str(tmp_path), create_model_card=False)
    with CrossEncoderScorer(tmp_path, precision="float32") as scorer:
        np.testing.assert_allclose(scorer.score(PAIRS), logits(of_modules), atol=1e-4)


def test_a_default_prompt_is_put_before_the_query(of_modules: Path, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(
        str(of_modules), device="cpu", prompts={"ask": "Judge this: "}, default_prompt_name="ask"
    )
    model.save_pretrained(str(tmp_path), create_model_card=False)
    with CrossEncoderScorer(tmp_path, precision="float32") as scorer:
        got = scorer.score(PAIRS)
    np.testing.assert_allclose(got, logits(tmp_path), atol=1e-4)
    assert np.abs(np.array(got) - logits(of_modules)).max() > 1e-3


def test_max_length(one_label: Path) -> None:
    with CrossEncoderScorer(one_label, max_length=48, precision="float32") as scorer:
        result = scorer.score_pairs(PAIRS)
        assert scorer.max_length == 48
    np.testing.assert_allclose(result.scores, logits(one_label, max_length=48), atol=1e-4)
    assert result.truncated.tolist() == [False, False, False, False, True, True, False]


def test_truncated_begins_one_token_beyond_the_length(one_label: Path) -> None:
    with CrossEncoderScorer(one_label, max_length=16, precision="float32") as scorer:
        # Three special tokens and the query leave room for twelve.
        result = scorer.score_pairs([("cat", "dog " * 12), ("cat", "dog " * 13)])
    assert result.truncated.tolist() == [False, True]


def test_the_length_never_goes_beyond_the_positions(
    make_folder: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_folder(1, positions=40)
    with CrossEncoderScorer(folder) as scorer:
        assert scorer.max_length == 40
        assert scorer.score_pairs(PAIRS).truncated[5]
    with CrossEncoderScorer(folder, max_length=100) as scorer:
        assert scorer.max_length == 40
    assert "max_length=100 is more than the model reads; it is set to 40" in caplog.text


def test_windows_find_what_truncation_loses(one_label: Path) -> None:
    short = [("what is a cat", "A cat is a small animal.")]
    with CrossEncoderScorer(one_label, max_length=32, precision="float32", long_documents="max") as scorer:
        result = scorer.score_pairs([*short, ("what is a cat", "word " * 200 + short[0][1] + " thing" * 200)])
        # By hand: every window, scored on its own.
        tokenizer = scorer.load_trainable().tokenizer
        ids = tokenizer(
            "what is a cat",
            "word " * 200 + short[0][1] + " thing" * 200,
            max_length=32,
            stride=4,
            truncation="only_second",
            return_overflowing_tokens=True,
        )["input_ids"]
        windows = [tokenizer.decode(window).split("[SEP]")[1].strip() for window in ids]
        alone = scorer.score([("what is a cat", window) for window in windows])
    with CrossEncoderScorer(one_label, precision="float32") as plain:
        np.testing.assert_allclose(result.scores[0], plain.score(short)[0], atol=1e-4)
    assert len(windows) > 15
    np.testing.assert_allclose(result.scores[1], max(alone), atol=1e-4)
    assert result.truncated.tolist() == [False, False]


def test_windows_beside_an_overlong_query(one_label: Path) -> None:
    with CrossEncoderScorer(one_label, max_length=32, long_documents="max") as scorer:
        result = scorer.score_pairs([("query " * 100, "word " * 100), ("short", "word " * 100)])
    assert np.isfinite(result.scores).all()
    assert result.truncated.tolist() == [True, False]


# ---------------------------------------------------------------- deadlines


def test_what_is_scored_by_the_deadline_is_the_head_of_the_list(one_label: Path) -> None:
    with CrossEncoderScorer(one_label, precision="float32", batch_size=8) as scorer:
        # One token each, so that all rows are of one length and batches are consecutive.
        words = ["cat", "dog", "tree", "house", "sea", "sun", "day", "man"]
        pairs = [("what is a cat", f"a {one} {other}") for one in words for other in words]
        expected = np.array(scorer.score(pairs))
        run, batches = scorer._worker._backend.run, []  # type: ignore[union-attr]

        def slow(rows: Any) -> Any:
            batches.append(len(rows))
            if len(batches) == 3:
                # Still running when the time is over.
                over.wait(timeout=60)
            return run(rows)

        scorer._worker._backend.run = slow  # type: ignore[union-attr, method-assign]
        over = threading.Event()
        deadline = time.monotonic() + 1
        result = scorer.score_pairs(pairs, deadline=deadline)
        over.set()
        assert 0 <= time.monotonic() - deadline < 10
        done = ~np.isnan(result.scores)
        assert done.tolist() == [True] * 16 + [False] * 48
        np.testing.assert_allclose(result.scores[done], expected[done], atol=1e-4)
    assert not result.truncated.any()


async def test_a_deadline_that_leaves_nothing(scorer: CrossEncoderScorer) -> None:
    for result in (
        scorer.score_pairs(PAIRS, deadline=time.monotonic()),
        await scorer.ascore_pairs(PAIRS, deadline=time.monotonic()),
    ):
        assert np.isnan(result.scores).all()
        assert (result.scores.shape, result.scores.dtype) == ((len(PAIRS),), np.float32)
        assert not result.truncated.any()
    assert scorer.score_pairs([], deadline=time.monotonic()).scores.shape == (0,)


async def test_a_deadline_that_leaves_enough(scorer: CrossEncoderScorer) -> None:
    expected = scorer.score(PAIRS)
    late = time.monotonic() + 600
    np.testing.assert_allclose(scorer.score_pairs(PAIRS, deadline=late).scores, expected, atol=1e-5)
    np.testing.assert_allclose((await scorer.ascore_pairs(PAIRS, deadline=late)).scores, expected, atol=1e-5)


# ---------------------------------------------------------------- the surface


def test_nothing_gives_nothing(scorer: CrossEncoderScorer) -> None:
    assert scorer.score([]) == []
    result = scorer.score_pairs([])
    assert (result.scores.shape, result.truncated.shape) == ((0,), (0,))
    assert (result.scores.dtype, result.truncated.dtype) == (np.float32, np.bool_)


def test_scores_are_python_floats_and_pairs_may_be_lists(scorer: CrossEncoderScorer) -> None:
    scores = scorer.score([list(pair) for pair in PAIRS])  # type: ignore[misc]
    assert all(type(score) is float for score in scores)
    np.testing.assert_allclose(scores, scorer.score(PAIRS), atol=1e-6)


async def test_async_gives_the_same_without_threads(scorer: CrossEncoderScorer) -> None:
    expected = scorer.score(PAIRS)
    before = threading.active_count()
    results = await asyncio.gather(*(scorer.ascore(PAIRS) for _ in range(20)))
    assert threading.active_count() == before
    np.testing.assert_allclose(results, [expected] * 20, atol=1e-5)
    assert await scorer.ascore([]) == []
    assert (await scorer.ascore_pairs(PAIRS)).truncated.tolist() == scorer.score_pairs(
        PAIRS
    ).truncated.tolist()


def test_queries_that_come_together_share_forward_passes(scorer: CrossEncoderScorer) -> None:
    queries = [[(f"question {number}", f"passage {place}") for place in range(3)] for number in range(32)]
    alone = [scorer.score(pairs) for pairs in queries]
    worker = scorer._worker
    before = worker.counts
    everybody = threading.Barrier(32)

    def ask(pairs: list[tuple[str, str]]) -> list[float]:
        everybody.wait(timeout=10)
        return scorer.score(pairs)

    # Whoever holds this is on the worker's side of the queue: nothing is taken from it.
    with ThreadPoolExecutor(32) as pool, worker.busy:
        calls = [pool.submit(ask, pairs) for pairs in queries]
        end = time.monotonic() + 10
        while worker._admission._waiting < 32 * 3 and time.monotonic() < end:
            time.sleep(0.005)
    np.testing.assert_allclose([call.result() for call in calls], alone, atol=1e-5)
    assert worker.counts.rows - before.rows == 32 * 3
    # 96 rows of some ten tokens fit one batch; the first call may be read on its own.
    assert worker.counts.batches - before.batches <= 3


async def test_awaited_queries_share_forward_passes(scorer: CrossEncoderScorer) -> None:
    queries = [[(f"question {number}", f"passage {place}") for place in range(3)] for number in range(32)]
    alone = [scorer.score(pairs) for pairs in queries]
    before = scorer._worker.counts
    np.testing.assert_allclose(
        await asyncio.gather(*(scorer.ascore(pairs) for pairs in queries)), alone, atol=1e-5
    )
    assert scorer._worker.counts.batches - before.batches <= 8


async def test_the_event_loop_is_never_held_up(scorer: CrossEncoderScorer) -> None:
    pairs = [("what is a cat", f"{number} " + "A cat is a small animal. " * 80) for number in range(100)]
    assert min(len(passage) for _, passage in pairs) >= 2000
    longest, stop = 0.0, False

    async def beat() -> None:
        # Processor time of this thread: what other processes do does not count.
        nonlocal longest
        last = time.thread_time()
        while not stop:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    beating = asyncio.create_task(beat())
    await asyncio.gather(*(scorer.ascore_pairs(pairs) for _ in range(3)))
    stop = True
    await beating
    assert 0 < longest < 0.05


@pytest.fixture
def held(one_label: Path) -> Iterator["Held"]:
    with CrossEncoderScorer(one_label, precision="float32", batch_size=16) as scorer:
        yield Held(scorer)


class Held:
    """Notes which call each batch is of, by the first word of its queries, and holds the first until it is told."""

    def __init__(self, scorer: CrossEncoderScorer) -> None:
        self.scorer = scorer
        self.order: list[str] = []
        self.entered, self.gate = threading.Event(), threading.Event()
        self._tokenizer = scorer.load_trainable().tokenizer
        self._run = scorer._worker._backend.run  # type: ignore[union-attr]
        scorer._worker._backend.run = self.run  # type: ignore[union-attr, method-assign]

    def run(self, rows: Any) -> Any:
        words = {self._tokenizer.decode(row.payload["input_ids"][1:2]) for row in rows}
        self.order.append("+".join(sorted(words)))
        self.entered.set()
        assert self.gate.wait(60)
        return self._run(rows)

    def beside_bulk(self, pairs: list[tuple[str, str]]) -> list[float]:
        """Score pairs that come while the first batch of 200 bulk pairs is running."""
        bulk = [(f"bulk {number}", f"passage {number}") for number in range(200)]
        with ThreadPoolExecutor(2) as pool:
            running = pool.submit(self.scorer.score, bulk)
            assert self.entered.wait(60)
            coming = pool.submit(self.scorer.score, pairs)
            end = time.monotonic() + 10
            while not self.scorer._worker._inbox and time.monotonic() < end:
                time.sleep(0.005)
            self.gate.set()
            running.result()
            return coming.result()


def test_a_query_overtakes_bulk_scoring_whatever_its_depth(held: Held, scorer: CrossEncoderScorer) -> None:
    pairs = [("query one", f"passage {number}") for number in range(200)]
    np.testing.assert_allclose(held.beside_bulk(pairs), scorer.score(pairs), atol=1e-5)
    # Thirteen batches of its own; after four of them one of the others.
    assert held.order[:17] == ["bulk", *[*["query"] * 4, "bulk"] * 3, "query"]
    assert set(held.order[17:]) == {"bulk"}


def test_more_than_128_pairs_of_several_queries_are_bulk_scoring(held: Held) -> None:
    held.beside_bulk([(f"query {number % 2}", f"passage {number}") for number in range(129)])
    # They take turns with the other call.
    assert held.order[:5] != ["bulk", *["query"] * 4]
    assert held.order[1:9].count("bulk") == 4


def test_128_pairs_of_several_queries_are_not(held: Held) -> None:
    held.beside_bulk([(f"query {number % 2}", f"passage {number}") for number in range(128)])
    assert held.order[:10] == ["bulk", *["query"] * 4, "bulk", *["query"] * 4]


def test_passages_that_come_back_score_the_same(one_label: Path) -> None:
    with CrossEncoderScorer(one_label, precision="float32") as scorer:
        first = scorer.score_pairs(PAIRS)
        seen = len(scorer._worker._backend._rows._pairs._cache._entries)  # type: ignore[union-attr]
        again = scorer.score_pairs(PAIRS)
        assert len(scorer._worker._backend._rows._pairs._cache._entries) == seen  # type: ignore[union-attr]
    np.testing.assert_array_equal(first.scores, again.scores)
    assert first.truncated.tolist() == again.truncated.tolist()
    # Two texts of each pair, less those that come twice and those that are empty in both.
    assert seen >= len({text for pair in PAIRS for text in pair})


def test_threads_get_what_a_serial_run_gets(scorer: CrossEncoderScorer) -> None:
    jobs = [
        [(f"question {number}", "passage " * (number + size)) for number in range(size)]
        for size in range(1, 25)
    ]
    serial = [scorer.score(job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        for expected, got in zip(serial, pool.map(scorer.score, jobs), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["one_label", "two_labels", "of_modules"])
def test_save_and_load_in_both_libraries(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    with CrossEncoderScorer(request.getfixturevalue(kind), max_length=100) as scorer:
        scorer.save(tmp_path / "saved")
        trainable = scorer.load_trainable()
        identity = scorer.fingerprint
    expected = CrossEncoder(str(tmp_path / "saved"), device="cpu").predict(PAIRS)
    np.testing.assert_allclose(trainable.predict(PAIRS), expected, atol=1e-5)
    if expected.ndim == 2:
        expected = expected[:, 1] - expected[:, 0]
    with CrossEncoderScorer(tmp_path / "saved", precision="float32") as loaded:
        np.testing.assert_allclose(loaded.score(PAIRS), expected, atol=1e-4)
        assert loaded.fingerprint == identity
        assert loaded.max_length == 100
    with pytest.raises(InvalidArgumentError, match="exists and is not empty"):
        loaded.save(tmp_path / "saved")


def test_fingerprints_differ_by_model_and_length(
    scorer: CrossEncoderScorer, one_label: Path, two_labels: Path
) -> None:
    seen = {scorer.fingerprint}
    for folder, settings in (
        (one_label, {"max_length": 64}),
        (one_label, {"long_documents": "max"}),
        (two_labels, {}),
    ):
        with CrossEncoderScorer(folder, **settings) as other:
            seen.add(other.fingerprint)
    assert len(seen) == 4


def test_copies_share_the_model_and_pickles_load_it_again(scorer: CrossEncoderScorer) -> None:
    assert copy.deepcopy(scorer) is scorer
    again = pickle.loads(pickle.dumps(scorer))
    np.testing.assert_allclose(again.score(PAIRS), scorer.score(PAIRS), atol=1e-5)
    again.close()


def test_close(one_label: Path) -> None:
    scorer = CrossEncoderScorer(model_name=one_label)
    scorer.close()
    with pytest.raises(ClosedError, match="was closed"):
        scorer.score(PAIRS)


# ---------------------------------------------------------------- mistakes


def test_a_language_model_without_a_head_is_refused(minilm_folder: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"has no trained head, 'classifier\.\w+' .*tune\("):
        CrossEncoderScorer(minilm_folder)


def test_a_masked_language_model_is_refused(minilm_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BertForMaskedLM

    BertForMaskedLM(small_config(1)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(minilm_folder).save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match=r"BertForMaskedLM.* has no trained head"):
        CrossEncoderScorer(tmp_path)


def test_a_generating_model_needs_a_scoring_module(minilm_folder: Path, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    config = LlamaConfig(
        vocab_size=30522,
        max_position_embeddings=128,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "plain")
    tokenizer.save_pretrained(tmp_path / "plain")
    with pytest.raises(ModelLoadError, match=r"generating language model and not a cross-encoder.*tune\("):
        CrossEncoderScorer(tmp_path / "plain")
    made = CrossEncoder(str(tmp_path / "plain"), device="cpu")
    made.save_pretrained(str(tmp_path / "made"), create_model_card=False)
    with CrossEncoderScorer(tmp_path / "made", precision="float32") as scorer:
        np.testing.assert_allclose(scorer.score(PAIRS), logits(tmp_path / "made"), atol=1e-4)
        # It reads in its own way, and does not say what it cuts.
        assert scorer.score_pairs(PAIRS).truncated is None
        retriever = RerankRetriever(InMemoryVectorStore(HashEmbeddings()), reranker=scorer)
        retriever.add_documents([Document("long " * 400), Document("short")])
        told = retriever.explain("what is a tree")
        assert [one.truncated for one in told.candidates] == [None, None]
        assert told.truncated is None


@pytest.mark.parametrize("labels", [3, 5])
def test_more_than_two_labels_are_refused(make_folder: Callable[..., Path], labels: int) -> None:
    with pytest.raises(ModelLoadError, match=f"gives {labels} labels a pair. Expected 1"):
        CrossEncoderScorer(make_folder(labels))


def test_modules_that_give_no_score_are_refused(of_modules: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(of_modules, tmp_path / "model")
    modules = json.loads((tmp_path / "model" / "modules.json").read_text())
    (tmp_path / "model" / "modules.json").write_text(json.dumps(modules[:2]))
    with pytest.raises(ModelLoadError, match=r"gives no score for a pair|labels a pair"):
        CrossEncoderScorer(tmp_path / "model")


def test_nan_is_an_error_and_names_a_way_out(one_label: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(one_label, tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    weights = load_file(path)
    weights["classifier.bias"][:] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    with CrossEncoderScorer(tmp_path / "model") as scorer, pytest.raises(ScoringError, match="float32"):
        scorer.score(PAIRS)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("a", "b"), ("a", "\ud800")], r"text_pairs\[1\]\[1\]: expected valid Unicode"),
        ([("a", None)], r"text_pairs\[0\]\[1\]: expected str, got NoneType"),
        ([(3, "b")], r"text_pairs\[0\]\[0\]: expected str, got int"),
        ([("a", "b"), "ab"], r"text_pairs\[1\]: expected \(query, passage\), got str of length 2"),
        ([("a",)], r"text_pairs\[0\]: expected \(query, passage\), got tuple of length 1"),
        ([7], r"text_pairs\[0\]: expected \(query, passage\), got int"),
        ("ab", r"text_pairs: expected a list of \(query, passage\) pairs, got str"),
        (None, r"text_pairs: expected a list of \(query, passage\) pairs, got NoneType"),
    ],
)
def test_what_is_no_pair(scorer: CrossEncoderScorer, pairs: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        scorer.score(pairs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"long_documents": "middle"}, "long_documents: expected 'truncate' or 'max'"),
        ({"max_length": 0}, "max_length: expected a whole number"),
        ({"backend": "torch", "precision": "int8"}, "precision='int8' needs backend='openvino'"),
        ({"backend": "openvino", "device": "mps"}, "device='mps': OpenVINO runs on the CPU here"),
        ({"precision": "int8", "calibration": [("a", "b")] * 31}, "expected at least 32 pairs, .* got 31"),
        ({"calibration": ["a text"]}, r"text_pairs\[0\]: expected \(query, passage\)"),
        ({"precision": "fp16"}, "precision: expected one of"),
        ({"backend": "onnx"}, "backend: expected one of"),
    ],
)
def test_wrong_settings(one_label: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        CrossEncoderScorer(one_label, **settings)


def test_unknown_settings(one_label: Path) -> None:
    with pytest.raises(TypeError, match="top_n"):
        CrossEncoderScorer(one_label, top_n=3)  # type: ignore[call-arg]

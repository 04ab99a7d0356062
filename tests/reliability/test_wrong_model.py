"""Another model than the one that made the vectors: noticed before it can answer, and named beside the other."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from langchain_rerank_retriever import CrossEncoderScorer, FaissStore, PooledEmbeddings, RerankRetriever
from langchain_rerank_retriever.errors import FormatError, ModelLoadError, ModelMismatchError
from langchain_rerank_retriever.testing import HashEmbeddings
from tests.runtime.tiny import save_classifier, save_language_model

from .scale import at_scale

TEXTS = [
    "a cat sleeps on the table",
    "the dog barks in the garden",
    "red house of stone",
    "music in the morning",
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The right model, and others that differ from it in one thing each."""
    folder = tmp_path_factory.mktemp("models")
    save_language_model(folder / "right", "bert", seed=1)
    save_language_model(folder / "weights", "bert", seed=2)
    save_language_model(folder / "dimension", "bert", seed=1, hidden_size=16)
    save_language_model(folder / "layers", "bert", seed=1, num_hidden_layers=1)
    save_classifier(folder / "pairs", "bert", seed=3)
    shutil.copytree(folder / "right", folder / "tokenizer")
    _turn_vocabulary(folder / "tokenizer" / "tokenizer.json")
    return folder


def _turn_vocabulary(path: Path) -> None:
    """Give every word the number of the next one."""
    data = json.loads(path.read_text())
    vocabulary = data["model"]["vocab"]
    special = sum(word.startswith("[") for word in vocabulary)
    count = len(vocabulary) - special
    for word, number in vocabulary.items():
        if number >= special:
            vocabulary[word] = special + (number - special + 1) % count
    path.write_text(json.dumps(data))


@pytest.fixture
def load(models: Path) -> Iterator[Callable[..., PooledEmbeddings]]:
    with ExitStack() as opened:
        yield lambda name="right", **settings: opened.enter_context(
            PooledEmbeddings(models / name, backend="torch", precision="float32", **settings)
        )


@pytest.fixture
def store(load: Callable[..., PooledEmbeddings], tmp_path: Path) -> Path:
    """A store of the right model; its vectors and documents."""
    FaissStore.from_texts(TEXTS, load(), path=tmp_path / "store", ids=list("abcd")).close()
    return tmp_path / "store"


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "another dimension": ("dimension", {}),
    "other weights": ("weights", {}),
    "fewer layers": ("layers", {}),
    "another tokenizer": ("tokenizer", {}),
    "a re-ranker's model": ("pairs", {}),
    "another pooling": ("right", {"pooling": "cls"}),
    "two poolings": ("right", {"pooling": ("cls", "mean")}),
    "another prompt of documents": ("right", {"document_prompt": "paper: "}),
    "fewer dimensions": ("right", {"truncate_dim": 16}),
    "another length": ("right", {"max_seq_length": 48}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_model_is_named(
    case: str, load: Callable[..., PooledEmbeddings], store: Path, goal: Any
) -> None:
    name, settings = CASES[case]
    wrong = load(name, **settings)
    right = load()
    with goal("G14") as count:
        for open_ in (
            lambda: FaissStore(wrong, path=store),
            lambda: FaissStore.load_local(store, wrong, read_only=True),
        ):
            with pytest.raises(ModelMismatchError) as caught:
                open_()
            assert right.fingerprint in caught.value.expected
            assert wrong.fingerprint in caught.value.got
            assert caught.value.expected in str(caught.value)
            assert caught.value.got in str(caught.value)
        with FaissStore(wrong, path=store, check_model=False) as opened:
            for use in (
                lambda: opened.similarity_search("a cat", k=1),
                lambda: opened.add_texts(["another"]),
                lambda: opened.max_marginal_relevance_search("a cat", k=1),
                lambda: RerankRetriever(opened).invoke("a cat"),
            ):
                with pytest.raises(ModelMismatchError):
                    use()
            assert sorted(one.id for one in opened.documents()) == list("abcd")
        with FaissStore(right, path=store) as opened:
            assert opened.similarity_search(TEXTS[0], k=1)[0].id == "a"
        count.done += 1


@pytest.mark.parametrize("case", list(CASES)[:: at_scale(3, 1, 1)])
def test_reembed_moves_a_store_to_the_other_model(
    case: str, load: Callable[..., PooledEmbeddings], store: Path, goal: Any
) -> None:
    """The way out that the message names: every vector is made anew, and then the first model is the wrong one."""
    name, settings = CASES[case]
    wrong = load(name, **settings)
    with goal("G14") as count:
        with FaissStore(wrong, path=store, check_model=False) as opened:
            opened.reembed(wrong)
            assert opened.similarity_search_with_score(TEXTS[1], k=1)[0][0].id == "b"
            assert opened.verify(deep=True).ok
        with FaissStore(wrong, path=store) as opened:
            expected = wrong.encode(TEXTS)
            for document_id, vector in zip("abcd", expected, strict=True):
                scores = opened.dense_scores(vector.tolist(), [document_id])
                assert scores[document_id] == pytest.approx(1.0, abs=1e-4)
        with pytest.raises(ModelMismatchError):
            FaissStore(load(), path=store)
        count.done += 1


def test_what_leaves_the_vectors_of_documents_as_they_are_is_no_other_model(
    load: Callable[..., PooledEmbeddings], store: Path
) -> None:
    for settings in ({"query_prompt": "question: "}, {"normalize": False}, {"batch_size": 2}):
        with FaissStore(load(**settings), path=store) as opened:
            assert opened.similarity_search(TEXTS[2], k=1, filter=None)[0].id in "abcd"


@pytest.mark.parametrize("other", [HashEmbeddings(32, seed=1), HashEmbeddings(16)])
def test_foreign_embeddings_in_a_bundle(other: HashEmbeddings, tmp_path: Path, goal: Any) -> None:
    with goal("G14") as count:
        with FaissStore.from_texts(TEXTS, HashEmbeddings(32)) as made:
            RerankRetriever(made).save_local(tmp_path / "bundle")
        with pytest.raises(
            ModelMismatchError, match=r"made by HashEmbeddings \(32 dim.*got HashEmbeddings \("
        ):
            RerankRetriever.load_local(tmp_path / "bundle", embeddings=other)
        count.done += 1


@pytest.fixture
def bundle(load: Callable[..., PooledEmbeddings], models: Path, tmp_path: Path) -> Path:
    with (
        FaissStore.from_texts(TEXTS, load()) as made,
        CrossEncoderScorer(models / "pairs", backend="torch", precision="float32") as scorer,
    ):
        RerankRetriever(made, reranker=scorer).save_local(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_cross_encoder_of_other_weights_in_a_bundle(bundle: Path, tmp_path: Path, goal: Any) -> None:
    """Files that were changed since are damage, and both fingerprints are told."""
    with goal("G14") as count:
        other = save_classifier(tmp_path / "other", "bert", seed=4)
        noted = json.loads((bundle / "bundle.json").read_text())["reranker"]["fingerprint"]
        shutil.copy(other / "model.safetensors", bundle / "cross_encoder" / "model.safetensors")
        with pytest.raises(FormatError, match=rf"its fingerprint is [0-9a-f]{{64}}, expected {noted}"):
            RerankRetriever.load_local(bundle)
        count.done += 1


def test_a_bi_encoder_of_other_weights_in_a_bundle(bundle: Path, models: Path, goal: Any) -> None:
    with goal("G14") as count:
        noted = json.loads((bundle / "bundle.json").read_text())["embeddings"]["fingerprint"]
        shutil.copy(models / "weights" / "model.safetensors", bundle / "bi_encoder" / "model.safetensors")
        with pytest.raises(FormatError, match=rf"its fingerprint is [0-9a-f]{{64}}, expected {noted}"):
            RerankRetriever.load_local(bundle)
        count.done += 1


def test_an_encoder_is_no_re_ranker(models: Path, goal: Any) -> None:
    with goal("G14") as count:
        with pytest.raises(ModelLoadError, match="is not a cross-encoder: it has no trained head"):
            CrossEncoderScorer(models / "right")
        count.done += 1

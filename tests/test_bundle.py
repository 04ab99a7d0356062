"""One folder with everything: there and back, moved, saved again, damaged, killed in the middle."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_rerank_retriever import (
    CrossEncoderScorer,
    FaissStore,
    PooledEmbeddings,
    RerankRetriever,
    bundle,
    bundle_folder,
)
from langchain_rerank_retriever.blend import Blend, BlendVariant
from langchain_rerank_retriever.early_stop import EarlyStop
from langchain_rerank_retriever.errors import (
    FormatError,
    InvalidArgumentError,
    ModelMismatchError,
    ReadOnlyError,
    RerankError,
    StorageError,
)
from langchain_rerank_retriever.store import indexing, snapshots, upkeep, views
from tests.conftest import HashEmbeddings
from tests.runtime import tiny

QUERIES = ["how do I sort a list", "drawing a red circle", "날씨"]
DOCUMENTS = [
    Document(id=f"d{place}", page_content=text, metadata={"place": place})
    for place, text in enumerate(
        [
            "sorted() returns a new list in ascending order",
            "list.sort() sorts in place",
            "a circle is drawn by its centre and radius",
            "red is a colour of long wavelength",
            "오늘은 날씨가 맑습니다",
            "rain is expected in the afternoon",
        ]
    )
]
BLEND = Blend(
    (
        BlendVariant({"rerank": 1.0}, 1.0, 0.0),
        BlendVariant(
            {"rerank": 0.5, "dense": 0.2, "lexical": 0.3},
            2.0,
            -1.0,
            early_stop=EarlyStop(5, (0.5, None, 1.5), {2: (1.5, -1.0), 4: (2.0, -0.5)}),
        ),
    ),
    {"dense": 0.5, "lexical": 0.5},
)
REPORT = {"systems": [{"name": "base", "measures": {"nDCG@10": 0.5}}], "chosen": "base"}


class Foreign(BaseCrossEncoder):
    """Somebody else's cross-encoder."""

    def score(self, text_pairs: Any) -> list[float]:
        return [float(len(passage)) for _, passage in text_pairs]


def make_cross_encoder(minilm_folder: Path, folder: Path, seed: int) -> Path:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=1,
        initializer_range=0.2,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm_folder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def embeddings(minilm_folder: Path) -> Iterator[PooledEmbeddings]:
    with PooledEmbeddings(minilm_folder, precision="float32") as model:
        yield model


@pytest.fixture(scope="module")
def scorer(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrossEncoderScorer]:
    folder = make_cross_encoder(minilm_folder, tmp_path_factory.mktemp("one"), 1)
    with CrossEncoderScorer(folder, precision="float32", max_length=64) as model:
        yield model


@pytest.fixture(scope="module")
def other_scorer(
    minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CrossEncoderScorer]:
    folder = make_cross_encoder(minilm_folder, tmp_path_factory.mktemp("two"), 2)
    with CrossEncoderScorer(folder, precision="float32") as model:
        yield model


@pytest.fixture(scope="module")
def retriever(embeddings: PooledEmbeddings, scorer: CrossEncoderScorer) -> RerankRetriever:
    made = RerankRetriever.from_documents(
        DOCUMENTS,
        embeddings=embeddings,
        reranker=scorer,
        blend=BLEND,
        k=3,
        fetch_k=5,
        recall_mode="hybrid",
        score_threshold=0.001,
        timeout=60,
        collapse="source",
        early_stop=True,
    )
    return made.with_report(REPORT)


@pytest.fixture(scope="module")
def saved(retriever: RerankRetriever, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that tests copy and do not change."""
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    retriever.save_local(folder)
    return folder


@pytest.fixture
def light(saved: Path, tmp_path: Path) -> Path:
    """A copy of that bundle to change; the weights are links, because they are large."""
    import os

    def link(source: str, target: str) -> None:
        os.link(source, target) if source.endswith(".safetensors") else shutil.copy2(source, target)

    return Path(shutil.copytree(saved, tmp_path / "light", copy_function=link))


@pytest.fixture
def fake(tmp_path: Path) -> tuple[RerankRetriever, Path]:
    """A bundle of foreign models, which is quick to make."""
    made = RerankRetriever.from_documents(DOCUMENTS, embeddings=HashEmbeddings(), reranker=Foreign(), k=2)
    made.save_local(tmp_path / "fake")
    return made, tmp_path / "fake"


def close(retriever: RerankRetriever) -> None:
    retriever.recall.close()
    for model in (retriever.recall.embeddings, retriever.reranker):
        if hasattr(model, "close"):
            model.close()


def assert_same_answers(one: RerankRetriever, other: RerankRetriever) -> None:
    for query in QUERIES:
        for mine, theirs in zip(one.invoke(query), other.invoke(query), strict=True):
            assert (mine.id, mine.page_content) == (theirs.id, theirs.page_content)
            assert mine.metadata.keys() == theirs.metadata.keys()
            for key, value in mine.metadata.items():
                expected = pytest.approx(value, abs=1e-5) if isinstance(value, float) else value
                assert theirs.metadata[key] == expected, key


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    change(manifest)
    manifest.pop("checksum", None)
    (folder / "bundle.json").write_text(json.dumps(manifest))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- there and back


def test_moved_and_loaded_it_answers_the_same(
    retriever: RerankRetriever, light: Path, tmp_path: Path
) -> None:
    moved = light.rename(tmp_path / "elsewhere")
    loaded = RerankRetriever.load_local(str(moved))
    try:
        assert_same_answers(retriever, loaded)
        for name in (
            "k",
            "fetch_k",
            "recall_mode",
            "score_threshold",
            "timeout",
            "collapse",
            "early_stop",
            "blend",
        ):
            assert getattr(loaded, name) == getattr(retriever, name)
        assert loaded.report == REPORT
        assert loaded.reranker.max_length == 64
        assert loaded.reranker.precision == loaded.recall.embeddings.precision == "float32"
        loaded.add_documents([Document(id="new", page_content=QUERIES[1])])
        loaded.delete(["d0"])
    finally:
        close(loaded)
    again = RerankRetriever.load_local(moved, read_only=True)
    try:
        assert {document.id for document in again.recall.documents()} == {"new", "d1", "d2", "d3", "d4", "d5"}
        with pytest.raises(ReadOnlyError):
            again.add_documents([Document(page_content="x")])
        with pytest.raises(ReadOnlyError):
            again.delete(["new"])
    finally:
        close(again)


def test_sentence_transformers_loads_both_models(
    saved: Path, embeddings: PooledEmbeddings, scorer: CrossEncoderScorer
) -> None:
    import torch
    from sentence_transformers import CrossEncoder, SentenceTransformer

    vectors = SentenceTransformer(str(saved / "bi_encoder"), device="cpu").encode(QUERIES)
    np.testing.assert_allclose(embeddings.encode(QUERIES), vectors, atol=1e-5)
    pairs = [(query, document.page_content) for query in QUERIES for document in DOCUMENTS]
    logits = CrossEncoder(str(saved / "cross_encoder"), device="cpu").predict(
        pairs, activation_fn=torch.nn.Identity()
    )
    np.testing.assert_allclose(scorer.score(pairs), logits, atol=1e-4)


def test_the_scores_of_an_answer_are_those_of_sentence_transformers(
    saved: Path, retriever: RerankRetriever
) -> None:
    import torch
    from sentence_transformers import CrossEncoder, SentenceTransformer, util

    bi_encoder = SentenceTransformer(str(saved / "bi_encoder"), device="cpu")
    cross_encoder = CrossEncoder(str(saved / "cross_encoder"), device="cpu")
    for query in QUERIES:
        rows = retriever.explain(query, fetch_k=6, k=6).candidates
        texts = [row.document.page_content for row in rows]
        cosines = util.cos_sim(bi_encoder.encode(query), bi_encoder.encode(texts))[0]
        logits = cross_encoder.predict([(query, text) for text in texts], activation_fn=torch.nn.Identity())
        np.testing.assert_allclose([row.dense_score for row in rows], cosines, atol=1e-5)
        np.testing.assert_allclose([row.rerank_score for row in rows], logits, atol=1e-4)
        assert {row.truncated for row in rows} == {False}


def test_what_lies_in_it(saved: Path) -> None:
    names = {path.name for path in saved.iterdir()}
    assert names == {"bundle.json", "bi_encoder", "cross_encoder", "store"}
    files = [path for path in saved.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in {".pkl", ".pickle", ".bin", ".pt", ".py", ".joblib"}]
    text = (saved / "bundle.json").read_text(encoding="utf-8")
    assert str(saved.parent) not in text
    assert json.loads(text)["report"] == REPORT


def test_parts_may_be_passed_in(
    saved: Path, embeddings: PooledEmbeddings, other_scorer: CrossEncoderScorer
) -> None:
    loaded = RerankRetriever.load_local(saved, embeddings=embeddings, reranker=other_scorer, read_only=True)
    with loaded.recall:
        assert loaded.recall.embeddings is embeddings
        assert loaded.reranker is other_scorer
        with FaissStore.from_documents(DOCUMENTS, embeddings) as store:
            other = RerankRetriever.load_local(saved, recall=store, reranker=other_scorer)
            assert other.recall is store
            assert_same_answers(loaded, other)


def test_other_embeddings_are_refused(saved: Path, other_scorer: CrossEncoderScorer) -> None:
    with pytest.raises(ModelMismatchError):
        RerankRetriever.load_local(saved, embeddings=HashEmbeddings(), reranker=other_scorer)


@pytest.mark.parametrize(
    "settings",
    [
        {"normalize": False},
        {"pooling": ("cls", "max"), "normalize": False},
        {"query_prompt": "query: ", "document_prompt": "passage: "},
        {"max_seq_length": 8},
        {"truncate_dim": 8},
        {"truncate_dim": 8, "normalize": False},
    ],
    ids=str,
)
def test_every_setting_of_a_bi_encoder_survives(tmp_path: Path, settings: dict[str, Any]) -> None:
    folder = tiny.save_language_model(tmp_path / "model", "bert")
    texts = ["a word", "the cat sleeps in the house and the red door is open all day"]
    with PooledEmbeddings(folder, precision="float32", **settings) as model:
        RerankRetriever.from_texts(texts, embeddings=model).save_local(tmp_path / "bundle")
        expected = model.encode(texts), model.encode(texts, kind="query")
    loaded = RerankRetriever.load_local(tmp_path / "bundle")
    try:
        again = loaded.recall.embeddings
        np.testing.assert_array_equal([again.encode(texts), again.encode(texts, kind="query")], expected)
    finally:
        close(loaded)


@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_the_precision_that_was_asked_for(light: Path, precision: str) -> None:
    edit(light, lambda manifest: manifest["reranker"].update(precision=precision))
    edit(light, lambda manifest: manifest["reranker"].pop("precision") if precision == "auto" else None)
    with pytest.warns(UserWarning, match="recall_mode='hybrid' needs a FaissStore"):
        loaded = RerankRetriever.load_local(light, recall=InMemoryVectorStore(HashEmbeddings()))
    with loaded.reranker:
        assert loaded.reranker.precision in ({"float32", "bfloat16"} if precision == "auto" else {precision})


# ---------------------------------------------------------------- saving again


def test_over_an_earlier_bundle(
    retriever: RerankRetriever, light: Path, other_scorer: CrossEncoderScorer, embeddings: PooledEmbeddings
) -> None:
    bi_encoder = (light / "bi_encoder" / "model.safetensors").stat()
    changed = retriever.model_copy(update={"reranker": other_scorer, "k": 2})
    changed.save_local(light)
    loaded = RerankRetriever.load_local(light, embeddings=embeddings)
    try:
        assert loaded.reranker.fingerprint == other_scorer.fingerprint
        assert_same_answers(changed, loaded)
    finally:
        loaded.recall.close()
        loaded.reranker.close()
    # The model that did not change was kept, what nothing names any more is gone.
    assert (light / "bi_encoder" / "model.safetensors").stat() == bi_encoder
    names = {path.name for path in light.iterdir()}
    assert names == {"bundle.json", "bi_encoder", "cross_encoder-2", "store-2"}
    changed.save_local(light)
    assert {path.name for path in light.iterdir()} == {
        "bundle.json",
        "bi_encoder",
        "cross_encoder-2",
        "store",
    }


def test_into_its_own_folder_while_it_is_live(
    light: Path, embeddings: PooledEmbeddings, scorer: CrossEncoderScorer
) -> None:
    live = RerankRetriever.load_local(light, embeddings=embeddings, reranker=scorer)
    with live.recall:
        live.add_documents([Document(id="new", page_content="something new")])
        live.k = 1
        live.save_local(light)
        assert {path.name for path in light.iterdir()} == {
            "bundle.json",
            "bi_encoder",
            "cross_encoder",
            "store",
        }
        live.add_documents([Document(id="newer", page_content="something newer")])
        with FaissStore.load_local(light / "store", embeddings) as beside:
            assert {"new", "newer"} <= {document.id for document in beside.documents()}
    loaded = RerankRetriever.load_local(light, embeddings=embeddings, reranker=scorer)
    with loaded.recall:
        assert loaded.k == 1
        assert len(loaded.recall) == len(DOCUMENTS) + 2


def test_a_live_bundle_saved_elsewhere_stays_live_where_it_is(
    fake: tuple[RerankRetriever, Path], tmp_path: Path
) -> None:
    _, folder = fake
    live = RerankRetriever.load_local(folder, embeddings=HashEmbeddings(), reranker=Foreign())
    with live.recall:
        live.save_local(tmp_path / "copy")
        live.add_documents([Document(id="later", page_content="later")])
    for path, size in ((folder, 7), (tmp_path / "copy", 6)):
        with RerankRetriever.load_local(
            path, embeddings=HashEmbeddings(), reranker=Foreign()
        ).recall as store:
            assert len(store) == size


def test_a_store_that_already_lies_in_the_folder(tmp_path: Path) -> None:
    made = RerankRetriever.from_documents(
        DOCUMENTS, embeddings=HashEmbeddings(), path=tmp_path / "b" / "store"
    )
    with made.recall:
        made.save_local(tmp_path / "b")
        assert {path.name for path in (tmp_path / "b").iterdir()} == {"bundle.json", "store"}
    with FaissStore.from_documents(DOCUMENTS, HashEmbeddings(), path=tmp_path / "b" / "mine") as mine:
        RerankRetriever(mine).save_local(tmp_path / "b")
    with RerankRetriever.load_local(tmp_path / "b", embeddings=HashEmbeddings()).recall as store:
        assert len(store) == len(DOCUMENTS)
    assert (tmp_path / "b" / "mine").is_dir()


def test_other_files_in_a_bundle_are_left_alone(fake: tuple[RerankRetriever, Path]) -> None:
    made, folder = fake
    (folder / "NOTES.md").write_text("mine")
    (folder / "store-of-mine").mkdir()
    made.save_local(folder)
    assert {path.name for path in folder.iterdir()} == {"bundle.json", "store-2", "NOTES.md", "store-of-mine"}


def test_a_damaged_earlier_bundle_names_nothing_that_is_kept(light: Path, retriever: RerankRetriever) -> None:
    outside = shutil.copytree(light / "cross_encoder", light.parent / "outside")
    edit(light, lambda manifest: manifest["reranker"].update(folder="../outside"))
    edit(light, lambda manifest: manifest.pop("embeddings"))
    retriever.save_local(light)
    manifest = json.loads((light / "bundle.json").read_text())
    assert manifest["reranker"]["folder"] == "cross_encoder-2"
    assert manifest["embeddings"]["folder"] == "bi_encoder-2"
    assert outside.is_dir()


# ---------------------------------------------------------------- foreign parts


def test_foreign_parts_are_asked_for_by_name(fake: tuple[RerankRetriever, Path]) -> None:
    made, folder = fake
    manifest = json.loads((folder / "bundle.json").read_text())
    assert manifest["embeddings"]["foreign"].endswith("HashEmbeddings")
    assert manifest["reranker"]["foreign"].endswith("Foreign")
    message = r"does not hold its {0}: .*{1}, cannot be stored.* load_local\(folder, {0}=\.\.\.\)"
    with pytest.raises(InvalidArgumentError, match=message.format("embeddings", "HashEmbeddings")):
        RerankRetriever.load_local(folder)
    with pytest.raises(InvalidArgumentError, match=message.format("reranker", "Foreign")):
        RerankRetriever.load_local(folder, embeddings=HashEmbeddings())
    with RerankRetriever.load_local(folder, embeddings=HashEmbeddings(), reranker=Foreign()).recall as store:
        assert_same_answers(made, RerankRetriever(store, reranker=Foreign(), k=2))


def test_a_foreign_source_is_asked_for_by_name(tmp_path: Path, scorer: CrossEncoderScorer) -> None:
    foreign = InMemoryVectorStore(HashEmbeddings())
    foreign.add_documents(DOCUMENTS)
    made = RerankRetriever(foreign, reranker=scorer)
    made.save_local(tmp_path / "b")
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"bundle.json", "cross_encoder"}
    for arguments in ({}, {"embeddings": HashEmbeddings()}):
        with pytest.raises(
            InvalidArgumentError, match=r"not hold its recall: .*InMemoryVectorStore.*recall=\.\.\."
        ):
            RerankRetriever.load_local(tmp_path / "b", **arguments)
    loaded = RerankRetriever.load_local(tmp_path / "b", recall=foreign)
    with loaded.reranker:
        assert_same_answers(made, loaded)


class Unseen(BaseRetriever):
    """Somebody else's retriever, which shows no model."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return DOCUMENTS[:2]


@pytest.mark.parametrize("listed", [False, True])
def test_the_model_behind_a_foreign_source_is_compared(tmp_path: Path, listed: bool) -> None:
    def source(embeddings: HashEmbeddings) -> Any:
        store = InMemoryVectorStore(embeddings)
        return [Unseen(), store] if listed else store

    made = source(HashEmbeddings())
    (made[1] if listed else made).add_documents(DOCUMENTS)
    RerankRetriever(made).save_local(tmp_path / "b")
    for other in (HashEmbeddings(seed=9), HashEmbeddings(dimension=16)):
        with pytest.raises(
            ModelMismatchError, match=r"HashEmbeddings \(32 dimensions\).*store of the same"
        ) as told:
            RerankRetriever.load_local(tmp_path / "b", recall=source(other))
        assert told.value.expected.endswith("(32 dimensions)")
    for same in (made, source(HashEmbeddings()), Unseen()):
        assert RerankRetriever.load_local(tmp_path / "b", recall=same).recall is same
    # A bundle of an earlier version, which noted nothing.
    edit(tmp_path / "b", lambda manifest: manifest["embeddings"].pop("probes"))
    RerankRetriever.load_local(tmp_path / "b", recall=source(HashEmbeddings(seed=9)))


@pytest.mark.parametrize("probes", [{}, {"a": "x"}, {"a": "한"}, {"a": 3}, ["a"], None])
def test_what_was_noted_of_a_foreign_model_is_damaged(tmp_path: Path, probes: Any) -> None:
    RerankRetriever(InMemoryVectorStore(HashEmbeddings())).save_local(tmp_path / "b")
    edit(tmp_path / "b", lambda manifest: manifest["embeddings"].update(probes=probes))
    with pytest.raises(FormatError, match="is damaged"):
        RerankRetriever.load_local(tmp_path / "b", recall=InMemoryVectorStore(HashEmbeddings()))


def test_a_fault_of_foreign_embeddings_is_not_blamed_on_the_bundle(tmp_path: Path) -> None:
    class Faulty(HashEmbeddings):
        def embed_documents(self, texts: Any) -> Any:
            raise TypeError("no such service")

    RerankRetriever(InMemoryVectorStore(HashEmbeddings())).save_local(tmp_path / "b")
    with pytest.raises(TypeError, match="no such service"):
        RerankRetriever.load_local(tmp_path / "b", recall=InMemoryVectorStore(Faulty()))


def test_recall_only(tmp_path: Path) -> None:
    made = RerankRetriever.from_documents(DOCUMENTS, embeddings=HashEmbeddings())
    made.save_local(tmp_path / "b")
    loaded = RerankRetriever.load_local(tmp_path / "b", embeddings=HashEmbeddings())
    with loaded.recall:
        assert loaded.reranker is loaded.blend is loaded.report is None
        assert_same_answers(made, loaded)


# ---------------------------------------------------------------- how its store is opened


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Few documents are enough for a snapshot and for a graph; the threads of each graph that was to be built."""
    asked: list[int] = []

    def build(*_: Any, threads: Callable[[], int]) -> None:
        asked.append(threads())

    monkeypatch.setattr(snapshots, "MIN_ROWS", 1)
    monkeypatch.setattr(indexing, "GRAPH_ROWS", 1)
    monkeypatch.setattr(upkeep, "QUIET", 0.01)
    monkeypatch.setattr(views, "build", build)
    return asked


@pytest.mark.parametrize("memory_map", [True, False, None])
def test_memory_map_reaches_the_store(small: list[int], tmp_path: Path, memory_map: bool | None) -> None:
    RerankRetriever.from_documents(DOCUMENTS, embeddings=HashEmbeddings()).save_local(tmp_path / "b")
    loaded = RerankRetriever.load_local(
        tmp_path / "b", embeddings=HashEmbeddings(), read_only=True, memory_map=memory_map
    )
    with loaded.recall as store:
        assert store.index_info.snapshot is not None
        assert store.index_info.mapped is bool(memory_map)
        assert len(loaded.invoke(QUERIES[0])) == 4


def test_threads_reach_the_store_and_the_models(
    small: list[int], light: Path, tmp_path: Path, embeddings: PooledEmbeddings
) -> None:
    import torch

    made = RerankRetriever.from_documents(
        DOCUMENTS, embeddings=HashEmbeddings(), path=tmp_path / "b" / "store", index="hnsw", threads=3
    )
    with made.recall as store:
        made.save_local(tmp_path / "b")
        assert store.wait_until_ready(20).setting == "hnsw"
    assert small == [3]
    loaded = RerankRetriever.load_local(tmp_path / "b", embeddings=HashEmbeddings(), threads=2)
    with loaded.recall as store:
        store.wait_until_ready(20)
    assert small == [3, 2]
    before = torch.get_num_threads()
    loaded = RerankRetriever.load_local(light, embeddings=embeddings, read_only=True, threads=1)
    with loaded.recall, loaded.reranker:
        assert len(loaded.invoke(QUERIES[0])) == 3
        assert "threads=1" in repr(loaded.reranker)
        assert "threads=None" in repr(embeddings)
    torch.set_num_threads(before)  # a setting of the whole process


def test_a_wrong_way_to_open_is_told_before_anything_is_done(tmp_path: Path) -> None:
    embeddings = HashEmbeddings()
    for wrong in ({"index": "ivf"}, {"threads": 0}, {"threads": True}):
        with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
            RerankRetriever.from_documents(DOCUMENTS, embeddings=embeddings, **wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
            RerankRetriever.from_texts(["a"], embeddings=embeddings, **wrong)  # type: ignore[arg-type]
    assert embeddings.calls == []
    with pytest.raises(InvalidArgumentError, match=r"memory_map is for the bundle's own store"):
        RerankRetriever.load_local(tmp_path, recall=InMemoryVectorStore(embeddings), memory_map=True)


# ---------------------------------------------------------------- what is no bundle


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"nowhere is no bundle: no such folder. Expected a folder that"):
        RerankRetriever.load_local(tmp_path / "nowhere")
    with pytest.raises(FormatError, match=r"it has no bundle\.json"):
        RerankRetriever.load_local(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FormatError, match="is no bundle"):
        RerankRetriever.load_local(tmp_path / "file")
    with FaissStore.from_documents(DOCUMENTS, HashEmbeddings(), path=tmp_path / "store"):
        pass
    with pytest.raises(FormatError, match="is no bundle"):
        RerankRetriever.load_local(tmp_path / "store", embeddings=HashEmbeddings())


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"3", b"{}", b'{"kind": "x"}', b"\xff\xfe", b'{"kind": "langchain-rerank'],
)
def test_a_damaged_manifest(fake: tuple[RerankRetriever, Path], content: bytes) -> None:
    made, folder = fake
    (folder / "bundle.json").write_bytes(content)
    before = snapshot(folder)
    with pytest.raises(FormatError, match=r"bundle\.json"):
        RerankRetriever.load_local(folder, embeddings=HashEmbeddings(), reranker=Foreign())
    with pytest.raises(FormatError, match=r"bundle\.json"):
        made.save_local(folder)
    assert snapshot(folder) == before


@pytest.mark.parametrize(("key", "value"), [("format", 3), ("format", "1"), ("kind", "a picture")])
def test_another_format(fake: tuple[RerankRetriever, Path], key: str, value: Any) -> None:
    made, folder = fake
    edit(folder, lambda manifest: manifest.update({key: value}))
    for call in (made.save_local, RerankRetriever.load_local):
        with pytest.raises(
            FormatError, match="this version reads 'langchain-rerank-retriever bundle' of format 1 or 2"
        ):
            call(folder)


@pytest.mark.parametrize("key", ["recall", "embeddings", "reranker", "settings", "blend", "report"])
@pytest.mark.parametrize(
    "value", [..., 5, "text", [1], {}], ids=["missing", "number", "text", "list", "empty"]
)
def test_a_manifest_with_a_wrong_entry(fake: tuple[RerankRetriever, Path], key: str, value: Any) -> None:
    _, folder = fake
    edit(folder, lambda manifest: manifest.pop(key) if value is ... else manifest.update({key: value}))
    if key == "report" and value is not ...:
        return  # A report may be any JSON data.
    embeddings = HashEmbeddings() if key == "reranker" else None
    with pytest.raises(FormatError):
        RerankRetriever.load_local(folder, embeddings=embeddings)


def test_a_bundle_of_before_there_was_a_setting_opens(fake: tuple[RerankRetriever, Path]) -> None:
    made, folder = fake
    edit(folder, lambda manifest: [manifest["settings"].pop(name) for name in bundle.NEWER_SETTINGS])
    loaded = RerankRetriever.load_local(folder, embeddings=HashEmbeddings(), reranker=Foreign())
    assert (loaded.collapse, loaded.early_stop) == (None, False)
    assert (loaded.k, loaded.fetch_k) == (made.k, made.fetch_k)
    loaded.recall.close()
    edit(folder, lambda manifest: manifest["settings"].pop("k"))
    with pytest.raises(FormatError, match="'k'"):
        RerankRetriever.load_local(folder, embeddings=HashEmbeddings(), reranker=Foreign())


def test_a_real_model_keeps_the_deadline(retriever: RerankRetriever) -> None:
    everything = {"k": 5, "score_threshold": -1.0, "early_stop": False}
    late = retriever.model_copy(update={"timeout": 1e-6})
    recalled = RerankRetriever(retriever.recall, blend=Blend((), BLEND.fusion), recall_mode="hybrid")
    expected = [document.id for document in recalled.invoke(QUERIES[0], k=5)]
    for explanation in (
        late.explain(QUERIES[0], **everything),  # type: ignore[arg-type]
        asyncio.run(late.aexplain(QUERIES[0], **everything)),  # type: ignore[arg-type]
    ):
        assert explanation.timed_out
        assert explanation.scored == 0
        assert [row.document.id for row in explanation.candidates] == expected
    in_time = retriever.explain(QUERIES[0], **everything)  # type: ignore[arg-type]
    assert (in_time.timed_out, in_time.scored, in_time.truncated) == (False, 5, 0)


@pytest.mark.parametrize("key", ["fingerprint", "max_length", "long_documents"])
def test_what_is_noted_of_a_model_must_be_there(light: Path, key: str) -> None:
    edit(light, lambda manifest: manifest["reranker"].pop(key))
    with pytest.raises(FormatError, match=rf"bundle\.json is damaged: KeyError\('{key}'\)"):
        RerankRetriever.load_local(light)


def test_an_error_inside_a_model_is_no_damaged_manifest(light: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("theirs")

    monkeypatch.setattr("langchain_rerank_retriever.bundled_model.CrossEncoderScorer", fail)
    with pytest.raises(KeyError, match="theirs"):
        RerankRetriever.load_local(light)


@pytest.mark.parametrize("part", ["store", "bi_encoder", "cross_encoder"])
def test_a_missing_part(light: Path, part: str) -> None:
    shutil.rmtree(light / part)
    with pytest.raises(FormatError, match=f"lacks its folder '{part}'. Restore it from a copy"):
        RerankRetriever.load_local(light)


@pytest.mark.parametrize(
    "name", ["../x", "/etc", "store/../../x", "", ".", "..", "store\n", "store-", 5, None, ["store"]]
)
@pytest.mark.parametrize("part", ["recall", "embeddings", "reranker"])
def test_a_part_that_leads_outside(light: Path, part: str, name: Any) -> None:
    edit(light, lambda manifest: manifest[part].update(folder=name))
    with pytest.raises(FormatError, match="as a part; expected a plain folder of the bundle"):
        RerankRetriever.load_local(light)


@pytest.mark.parametrize("part", ["store", "bi_encoder", "cross_encoder"])
def test_a_part_that_is_a_link(light: Path, part: str) -> None:
    (light / part).rename(light.parent / "outside")
    (light / part).symlink_to(light.parent / "outside")
    with pytest.raises(FormatError, match="expected a plain folder of the bundle"):
        RerankRetriever.load_local(light)


def test_a_swapped_model(light: Path, other_scorer: CrossEncoderScorer, embeddings: PooledEmbeddings) -> None:
    shutil.rmtree(light / "cross_encoder")
    other_scorer.save(light / "cross_encoder")
    with pytest.raises(FormatError, match=r"cross_encoder is not the one that was saved: its fingerprint is"):
        RerankRetriever.load_local(light, embeddings=embeddings)
    # What was opened before that is closed again, so that the folder can be used.
    with FaissStore.load_local(light / "store", embeddings) as store:
        assert store.add_texts(["x"], ids=["x"]) == ["x"]


def test_a_part_that_is_empty(light: Path, embeddings: PooledEmbeddings) -> None:
    shutil.rmtree(light / "cross_encoder")
    (light / "cross_encoder").mkdir()
    with pytest.raises(RerankError, match="cross_encoder"):
        RerankRetriever.load_local(light, embeddings=embeddings)
    shutil.rmtree(light / "store")
    (light / "store").mkdir()
    with pytest.raises(StorageError, match="store"):
        RerankRetriever.load_local(light, embeddings=embeddings, reranker=Foreign())


# ---------------------------------------------------------------- where it may be written


def test_a_folder_with_other_things_is_refused_and_left_alone(
    fake: tuple[RerankRetriever, Path], tmp_path: Path
) -> None:
    made, _ = fake
    target = tmp_path / "photos"
    (target / "store").mkdir(parents=True)
    (target / "holiday.jpg").write_bytes(b"jpg")
    with pytest.raises(FormatError, match=r"holds other things \(holiday.jpg\).* Choose another folder"):
        made.save_local(target)
    assert snapshot(target) == {"holiday.jpg": b"jpg"}
    with pytest.raises(FormatError, match="is a file"):
        made.save_local(target / "holiday.jpg")
    (target / "holiday.jpg").unlink()
    with pytest.raises(StorageError, match="could not be written"):
        made.save_local("/proc/nowhere/bundle")


@pytest.mark.parametrize("report", [{"nan": float("nan")}, {"object": object()}])
def test_a_report_that_is_not_json(fake: tuple[RerankRetriever, Path], tmp_path: Path, report: Any) -> None:
    made, folder = fake
    before = snapshot(folder)
    with pytest.raises(InvalidArgumentError, match="must be JSON data with finite numbers"):
        made.with_report(report).save_local(folder)
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    ("module", "step"),
    [
        (bundle, "_save_store"),
        (bundle, "_save_embeddings"),
        (bundle, "_save_reranker"),
        (bundle, "commit"),
        (bundle_folder, "sync"),
    ],
)
def test_a_save_that_is_killed_leaves_the_earlier_bundle(
    fake: tuple[RerankRetriever, Path], monkeypatch: pytest.MonkeyPatch, module: ModuleType, step: str
) -> None:
    made, folder = fake
    changed = RerankRetriever.from_documents(DOCUMENTS[:2], embeddings=HashEmbeddings(), k=1)

    class KilledError(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(module, step, killed)
        with pytest.raises(KilledError):
            changed.save_local(folder)
    loaded = RerankRetriever.load_local(folder, embeddings=HashEmbeddings(), reranker=Foreign())
    with loaded.recall:
        assert loaded.k == 2
        assert_same_answers(made, loaded)
    changed.save_local(folder)
    again = RerankRetriever.load_local(folder, embeddings=HashEmbeddings())
    with again.recall:
        assert again.k == 1
        assert len(again.recall) == 2
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 1


def test_a_first_save_that_is_killed_can_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = RerankRetriever.from_documents(DOCUMENTS, embeddings=HashEmbeddings())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(StorageError, match="could not be written: no space left"):
            made.save_local(tmp_path / "b")
    with pytest.raises(FormatError, match="is no bundle"):
        RerankRetriever.load_local(tmp_path / "b")
    made.save_local(tmp_path / "b")
    with RerankRetriever.load_local(tmp_path / "b", embeddings=HashEmbeddings()).recall as store:
        assert len(store) == len(DOCUMENTS)
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"bundle.json", "store-2"}

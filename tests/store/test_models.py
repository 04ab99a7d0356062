"""Which model made the vectors: probes, mismatches, and moving to another model."""

import threading
from pathlib import Path

import numpy as np
import pytest

from langchain_rerank_retriever.errors import ModelMismatchError
from langchain_rerank_retriever.store import FaissStore
from tests.conftest import HashEmbeddings

from .helpers import FastEmbeddings, content, ranking, stored_vectors, unit
from .test_search import NumpyEncoder


class Named(FastEmbeddings):
    model_name = "named-model"


def test_another_model_of_the_same_dimension(tmp_path: Path) -> None:
    FaissStore.from_texts(["a"], FastEmbeddings(seed=0), path=tmp_path / "s").close()
    with pytest.raises(
        ModelMismatchError, match=r"made by FastEmbeddings \(16 dim.*got Named\('named-model'\).*cosine"
    ) as caught:
        FaissStore(Named(seed=1), path=tmp_path / "s")
    assert caught.value.expected == "FastEmbeddings (16 dimensions)"
    assert caught.value.got == "Named('named-model') (16 dimensions)"
    with pytest.raises(ModelMismatchError):
        FaissStore.load_local(tmp_path / "s", Named(seed=1), read_only=True)


def test_another_dimension(tmp_path: Path) -> None:
    FaissStore.from_texts(["a"], FastEmbeddings(16), path=tmp_path / "s").close()
    with pytest.raises(ModelMismatchError, match=r"16 dimensions.*got.*8 dimensions"):
        FaissStore(FastEmbeddings(8), path=tmp_path / "s")


def test_check_model_false_waits_for_the_first_embedding(tmp_path: Path) -> None:
    FaissStore.from_texts(["a"], FastEmbeddings(seed=0), path=tmp_path / "s", ids=["1"]).close()
    other = FastEmbeddings(seed=1)
    with FaissStore(other, path=tmp_path / "s", check_model=False) as store:
        assert other.calls == []
        assert len(store) == 1
        assert len(store.similarity_search_by_vector([1.0] * 16)) == 1
        assert len(store.lexical_search("a")) == 1
        for call in (
            lambda: store.similarity_search("a"),
            lambda: store.add_texts(["b"]),
            lambda: store.embed_query("a"),
        ):
            with pytest.raises(ModelMismatchError):
                call()
        assert len(store) == 1
    good = FastEmbeddings(seed=0)
    with FaissStore(good, path=tmp_path / "s", check_model=False) as store:
        store.similarity_search("a")
        store.similarity_search("a")
        assert len(good.calls) == 1


def test_almost_the_same_model_passes(tmp_path: Path) -> None:
    class Rounded(FastEmbeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return np.round(super().embed_documents(texts), 1).tolist()

    FaissStore.from_texts(["a"], FastEmbeddings(), path=tmp_path / "s").close()
    FaissStore(Rounded(), path=tmp_path / "s").close()


def test_an_equal_fingerprint_needs_no_probes(tmp_path: Path) -> None:
    FaissStore.from_texts(["a"], NumpyEncoder(), path=tmp_path / "s").close()
    encoder = NumpyEncoder()
    FaissStore(encoder, path=tmp_path / "s").close()
    assert encoder.kinds == []
    with pytest.raises(ModelMismatchError, match=r"fingerprint abc123.*fingerprint other"):
        FaissStore(NumpyEncoder(seed=9, fingerprint="other"), path=tmp_path / "s")
    FaissStore(NumpyEncoder(fingerprint="same weights, other backend"), path=tmp_path / "s").close()


def test_a_new_store_takes_any_model_and_remembers_it() -> None:
    with FaissStore(Named()) as store:
        assert store.settings["model"] is None
        store.add_texts(["a"])
        assert store.settings["model"] == "Named('named-model')"


def test_reembed(tmp_path: Path) -> None:
    old, new = HashEmbeddings(16), HashEmbeddings(24, seed=1)
    texts = [f"text {i}" for i in range(600)]
    with FaissStore.from_texts(texts, old, [{"i": i} for i in range(600)], path=tmp_path / "s") as store:
        before = content(store)
        reader = FaissStore(old, path=tmp_path / "s")
        store.reembed(new)
        assert content(store) == before
        assert store.embeddings is new
        assert store.settings["dimension"] == 24
        for name, vector in stored_vectors(store).items():
            assert np.allclose(vector, unit(new._vector(before[name][0])), atol=1e-6)
        assert store.similarity_search("text 7", k=1)[0].page_content == "text 7"
        assert store.verify(deep=True).ok
        with pytest.raises(ModelMismatchError):
            reader.similarity_search("text 7")
        with pytest.raises(ModelMismatchError):
            reader.add_texts(["x"])
        assert len(reader) == 600
        reader.close()
        store.add_texts(["another"])
    with pytest.raises(ModelMismatchError):
        FaissStore(old, path=tmp_path / "s")
    with FaissStore(new, path=tmp_path / "s") as store:
        assert store.similarity_search("another", k=1)[0].page_content == "another"


def test_reembed_that_fails_leaves_the_old_space() -> None:
    class Failing(HashEmbeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            if "text 500" in texts:
                raise ConnectionError("the service is down")
            return super().embed_documents(texts)

    with FaissStore.from_texts([f"text {i}" for i in range(600)], HashEmbeddings()) as store:
        before = stored_vectors(store)
        with pytest.raises(ConnectionError):
            store.reembed(Failing(8))
        assert all(np.array_equal(vector, before[name]) for name, vector in stored_vectors(store).items())
        assert store.similarity_search("text 7", k=1)[0].page_content == "text 7"


def test_reembed_catches_what_is_written_meanwhile() -> None:
    store = FaissStore.from_texts(
        [f"text {i}" for i in range(300)], FastEmbeddings(), ids=[str(i) for i in range(300)]
    )

    class Interrupting(FastEmbeddings):
        interrupted = False

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            if "text 280" in texts and not self.interrupted:
                self.interrupted = True
                store.add_texts(["changed", "new"], ids=["5", "new"])
                store.delete(["7"])
            return super().embed_documents(texts)

    new = Interrupting(8, seed=3)
    store.reembed(new)
    found = content(store)
    assert (found["5"][0], found["new"][0], "7" in found, len(found)) == ("changed", "new", False, 300)
    for name, vector in stored_vectors(store).items():
        assert np.allclose(vector, unit(new.vector(found[name][0])), atol=1e-6)
    assert store.verify(deep=True).ok


def test_searches_during_reembed_use_one_space() -> None:
    old, new = HashEmbeddings(16), HashEmbeddings(16, seed=1)
    texts = [f"word{i} text" for i in range(50)]
    store = FaissStore.from_texts(texts, old, ids=[str(i) for i in range(50)])
    expected = {
        tuple(
            name
            for name, _ in ranking(
                {str(i): np.array(m._vector(t)) for i, t in enumerate(texts)}, np.array(m._vector("word7"))
            )[:5]
        )
        for m in (old, new)
    }
    wrong: list[object] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                answer = tuple(d.id for d in store.similarity_search("word7", k=5))
            except Exception as error:
                wrong.append(error)
            else:
                if answer not in expected:
                    wrong.append(answer)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(20):
        store.reembed(old if turn % 2 else new)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []

"""What the package shows of itself, and what importing and using it loads."""

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

import langchain_rerank_retriever as package

HEAVY = ["torch", "transformers", "sentence_transformers", "faiss", "datasets", "sklearn", "openvino"]


def loaded_by(code: str) -> list[str]:
    """Run code in an interpreter of its own, name the heavy libraries it loaded."""
    program = (
        f"{code}\nimport json, sys\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


FOREIGN = """
import hashlib
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_rerank_retriever import CrossEncoderReranker, FaissStore, RerankRetriever

class Fake(Embeddings):
    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]
    def embed_query(self, text):
        return [byte + 1.0 for byte in hashlib.sha256(text.encode()).digest()[:8]]

class Scorer(BaseCrossEncoder):
    def score(self, text_pairs):
        return [float(len(text)) for _, text in text_pairs]
"""

USES = {
    "search": """
retriever = RerankRetriever(FaissStore.from_texts(["a", "bb", "ccc"], Fake()), reranker=Scorer(), k=2)
assert [d.page_content for d in retriever.invoke("q", recall_mode="hybrid")] == ["ccc", "bb"]
assert len(retriever.invoke("q")) == 2
""",
    "compressor": """
retriever = RerankRetriever.from_texts(["a", "bb"], embeddings=Fake(), reranker=CrossEncoderReranker(model=Scorer()))
assert [d.page_content for d in retriever.invoke("q")] == ["bb", "a"]
""",
    "bundle": """
import tempfile
with tempfile.TemporaryDirectory() as folder:
    RerankRetriever.from_texts(["a", "bb"], embeddings=Fake(), reranker=Scorer()).save_local(folder + "/b")
    retriever = RerankRetriever.load_local(folder + "/b", embeddings=Fake(), reranker=Scorer())
    assert [d.page_content for d in retriever.invoke("q")] == ["bb", "a"]
    retriever.recall.close()
""",
}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import langchain_rerank_retriever") == []


def test_asking_for_its_names_loads_nothing_heavy() -> None:
    assert loaded_by("import langchain_rerank_retriever as p; dir(p); p.__version__; p.__all__") == []


@pytest.mark.parametrize("use", USES)
def test_with_foreign_models_neither_torch_nor_transformers_is_loaded(use: str) -> None:
    assert loaded_by(FOREIGN + USES[use]) == ["faiss"]


@pytest.mark.parametrize("name", package.__all__)
def test_every_public_name(name: str) -> None:
    thing: Any = getattr(package, name)
    assert name in dir(package)
    if name != "__version__":
        assert thing.__name__ == name
        assert thing.__module__.startswith("langchain_rerank_retriever.")
        assert len(inspect.getdoc(thing) or "") > 60


@pytest.mark.parametrize(
    "name", [name for name in package.__all__ if inspect.isclass(getattr(package, name))]
)
def test_every_public_method_is_documented(name: str) -> None:
    for attribute, value in vars(getattr(package, name)).items():
        if not attribute.startswith("_") and callable(getattr(value, "__func__", value)):
            assert inspect.getdoc(getattr(getattr(package, name), attribute)), attribute


@pytest.mark.parametrize(
    "name", ["CrossEncoderScorer", "FaissStore", "PooledEmbeddings", "RerankRetriever", "tune", "evaluate"]
)
def test_only_the_first_arguments_may_be_positional(name: str) -> None:
    kinds = [one.kind for one in inspect.signature(getattr(package, name)).parameters.values()]
    positional = [kind for kind in kinds if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert len(positional) <= {"tune": 2, "evaluate": 3}.get(name, 1)


def test_all_is_what_it_says() -> None:
    namespace: dict[str, Any] = {}
    exec("from langchain_rerank_retriever import *", namespace)
    assert set(package.__all__) <= set(namespace)
    assert sorted(package.__all__) == package.__all__
    assert package.__doc__


@pytest.mark.parametrize("name", ["Retriever", "_secret", "reranker_of_another_name", "__path"])
def test_an_unknown_name(name: str) -> None:
    with pytest.raises(
        AttributeError, match=f"module 'langchain_rerank_retriever' has no attribute '{name}'"
    ):
        getattr(package, name)
    with pytest.raises(ImportError, match=name):
        exec(f"from langchain_rerank_retriever import {name}")


def test_every_error_is_of_one_tree() -> None:
    from langchain_rerank_retriever import errors

    kinds = [
        one for one in vars(errors).values() if inspect.isclass(one) and one.__module__ == errors.__name__
    ]
    assert sorted(kind.__name__ for kind in kinds) == errors.__all__
    for kind in kinds:
        assert issubclass(kind, errors.RerankError)
        assert inspect.getdoc(kind)
    for kind, builtin in (
        (errors.InvalidArgumentError, ValueError),
        (errors.DataError, ValueError),
        (errors.ModelMismatchError, ValueError),
        (errors.MissingExtraError, ImportError),
        (errors.StorageError, OSError),
        (errors.FormatError, OSError),
        (errors.ScoringError, RuntimeError),
    ):
        assert issubclass(kind, builtin)

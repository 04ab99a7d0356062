"""Without any extra: whatever needs one says in one line which, and how to install it."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tiny
from made import DOCUMENTS, bundle, check, command, model

from langchain_rerank_retriever import CrossEncoderScorer, FaissStore, PooledEmbeddings, tune
from langchain_rerank_retriever.benchmark.recipe import load_recipe
from langchain_rerank_retriever.distributed import RayCluster, copy_embeddings, encode_corpus
from langchain_rerank_retriever.errors import MissingExtraError
from langchain_rerank_retriever.evaluation import html_report, judge, plot_means, save_evaluation
from langchain_rerank_retriever.testing import HashEmbeddings
from langchain_rerank_retriever.training import Recipe


def hint(extra: str) -> str:
    """Return how an extra is installed."""
    return f'pip install "langchain-rerank-retriever[{extra}]"'


def refused(extra: str, call: Callable[[], Any]) -> None:
    """Check that a call raises our error, with one line that ends with the command."""
    try:
        call()
    except MissingExtraError as error:
        check(error.extra == extra, error)
        check(str(error).endswith(hint(extra)) and "\n" not in str(error), error)
    else:
        check(False, f"Nothing was said of the missing extra {extra}.")


def refused_by_command(extra: str, *arguments: object) -> None:
    """Check that a command exits with 2 and its last line on standard error ends with the command."""
    said = command(*arguments)
    check(said.returncode == 2 and "Traceback" not in said.stderr, said)
    lines = [line for line in said.stderr.splitlines() if line.startswith("langchain-rerank: ")]
    check(len(lines) == 1 and lines[0].endswith(hint(extra)), said)


def check_calls(folder: Path, small: Path) -> None:
    """Call what needs each extra."""
    judged = judge({"q": ["a"], "r": ["b"]}, {"q": {"a": 1}, "r": {"a": 1}}, ["R@10"])
    rows = [{"query": document.page_content, "document_id": document.id} for document in DOCUMENTS] * 8
    scorer = tiny.save_classifier(folder / "scorer", "bert")
    refused("plots", lambda: plot_means([judged]))
    refused("plots", lambda: html_report(judged))
    refused("openvino", lambda: PooledEmbeddings(small, backend="openvino").embed_query("a cat"))
    refused("openvino", lambda: PooledEmbeddings(small, precision="int8").embed_query("a cat"))
    refused("openvino", lambda: CrossEncoderScorer(scorer, backend="openvino").score([("a", "b")]))
    refused("stemming", lambda: FaissStore(HashEmbeddings(), lexical="german"))
    refused("korean", lambda: FaissStore(HashEmbeddings(), lexical="korean"))
    refused("bench", lambda: load_recipe(small, small, max_seq_length=None, max_length=None))
    refused(
        "ray", lambda: encode_corpus(DOCUMENTS, HashEmbeddings(), folder / "shards", cluster=RayCluster())
    )
    refused("postgres", lambda: copy_embeddings(None, [], [], ids=[]))
    refused(
        "peft",
        lambda: tune(
            DOCUMENTS,
            rows,
            embeddings=str(small),
            reranker=None,
            output_dir=folder / "tuned",
            steps=2,
            recipe=Recipe(lora_rank=2),
        ),
    )


def check_commands(folder: Path, small: Path) -> None:
    """Run what needs each extra."""
    saved = bundle(folder / "bundle", PooledEmbeddings(small))
    (folder / "text.md").write_text("# A cat\n\nsleeps in the garden\n", encoding="utf-8")
    refused_by_command("files", "index", folder / "text.md", "--into", folder / "indexed", "--model", small)
    refused_by_command("demo", "demo", "--output", folder / "demo")
    refused_by_command("demo", "bench")
    for name, ranking in (("one", ["a"]), ("two", ["b", "a"])):
        judged = judge({"q": ranking, "r": ranking}, {"q": {"a": 1}, "r": {"a": 1}}, ["R@1"], name=name)
        save_evaluation(judged, folder / f"{name}.json")
    pair = (folder / "one.json", folder / "two.json")
    refused_by_command("plots", "compare", *pair, "--html", folder / "page.html")
    said = command("bench", saved, "--queries", 1, "--rounds", 1)
    check(said.returncode == 0, said)


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        made = model(Path(place))
        check_calls(Path(place), made)
        check_commands(Path(place), made)

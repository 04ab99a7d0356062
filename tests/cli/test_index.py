"""The command `index`: a bundle holds what the files hold now, whatever came between."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever import FaissStore, PooledEmbeddings, RerankRetriever
from langchain_rerank_retriever.cli import upsert
from langchain_rerank_retriever.cli.bundled_store import open_store

from .conftest import Finished

Run = Callable[..., Finished]

pytest.importorskip("langchain_text_splitters")

CATS = "# Cats\n\n" + "\n\n".join(f"The cat number {n} purrs in the garden all day long." for n in range(40))
BEES = "The bee lives in the kitchen and eats honey.\n"
FAQ = (
    "number,question,answer\n1,How do I reset it?,Press the button.\n2,Where is the manual?,In the kitchen.\n"
)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "guide").mkdir(parents=True)
    (folder / "guide" / "cats.md").write_text(CATS)
    (folder / "bees.txt").write_text(BEES)
    return folder


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was embedded as a document; the probes of the store and of the model are left out."""
    texts: list[str] = []
    encode = PooledEmbeddings.encode

    def noted(self: PooledEmbeddings, some: Any, *, kind: Any = "document") -> Any:
        if kind == "document":
            texts.extend(text for text in some if any(word in text for word in ("cat", "bee", "the ")))
        return encode(self, some, kind=kind)

    monkeypatch.setattr(PooledEmbeddings, "encode", noted)
    return texts


def counts(finished: Finished) -> dict[str, int]:
    assert (finished.code, finished.err) == (0, "")
    data = json.loads(finished.out)
    return {name: data[name] for name in ("added", "changed", "unchanged", "deleted", "documents")}


def stored(bundle: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    opened = open_store(bundle, read_only=True)
    assert opened is not None
    with opened as store:
        return {str(one.id): (one.page_content, one.metadata) for one in store.documents()}


def one_line(finished: Finished) -> str:
    assert (finished.code, finished.out) == (2, ""), finished
    (line,) = finished.err.splitlines()
    assert line.startswith("langchain-rerank: ")
    return line


# ---------------------------------------------------------------- what it makes


def test_a_new_bundle(run: Run, docs: Path, tmp_path: Path, bi_encoder: Path) -> None:
    bundle = tmp_path / "bundle"
    finished = run("index", docs, "--into", bundle, "--model", bi_encoder, "--json")
    data = json.loads(finished.out)
    assert (data["files"], data["records"], data["skipped"], data["other_files"]) == (2, 2, 0, 0)
    inside = stored(bundle)
    assert data["documents"] == data["added"] == len(inside)
    chunks = [name for name in inside if name.startswith("guide/cats.md#")]
    assert len(chunks) > 3
    assert inside["guide/cats.md#2"][1] == {
        "source": "guide/cats.md",
        "indexed_from": "guide/cats.md",
        "parent": "guide/cats.md",
        "chunk": 2,
    }
    assert inside["bees.txt#1"][0] == BEES.strip()
    found = json.loads(run("search", bundle, BEES, "-k", 1, "--json").out)
    assert found["documents"][0]["id"] == "bees.txt#1"
    assert run("verify", bundle, "--deep").code == 0
    told = run("info", bundle).out
    assert f"documents   {len(inside)}, embedded by PooledEmbeddings({str(bi_encoder)!r})" in told
    assert "languages   Latin 100 % of the letters in the first" in told
    assert "models      bi_encoder/ is bert of 1 layers, 32 wide" in told


def test_chunks_collapse_to_their_whole(run: Run, docs: Path, tmp_path: Path, bi_encoder: Path) -> None:
    run("index", docs, "--into", tmp_path / "b", "--model", bi_encoder)
    retriever = RerankRetriever.load_local(tmp_path / "b", read_only=True)
    with retriever.recall:
        found = retriever.model_copy(update={"collapse": "parent"}).invoke("The cat purrs", k=4)
    assert sorted(one.metadata["parent"] for one in found) == ["bees.txt", "guide/cats.md"]


def test_a_table_and_a_reranker(
    run: Run, tmp_path: Path, bi_encoder: Path, cross_encoder: Path, embedded: list[str]
) -> None:
    table, bundle = tmp_path / "faq.csv", tmp_path / "bundle"
    table.write_text(FAQ)
    arguments = ["index", table, "--into", bundle, "--model", bi_encoder, "--reranker", cross_encoder]
    arguments += ["--id-column", "number", "--text-column", "question", "--text-column", "answer"]
    assert counts(run(*arguments, "--lexical", "none", "--index", "auto", "--json"))["added"] == 2
    assert stored(bundle)["1"][0] == "How do I reset it?\nPress the button."
    retriever = RerankRetriever.load_local(bundle, read_only=True)
    with retriever.recall as store:
        assert (store.settings["lexical"], store.settings["index"]) == (False, "auto")
        assert retriever.invoke("reset")[0].metadata["relevance_kind"] == "rerank_score"
    retriever.reranker.close()
    # The very same command again: nothing is embedded, and naming what the bundle is made of is no mistake.
    del embedded[:]
    assert counts(run(*arguments, "--lexical", "none", "--json"))["unchanged"] == 2
    assert embedded == []


def test_rows_are_cut_where_a_size_is_given(run: Run, tmp_path: Path, bi_encoder: Path) -> None:
    table = tmp_path / "a.jsonl"
    table.write_text(json.dumps({"id": "x", "text": "one two three four " * 10}) + "\n")
    run("index", table, "--into", tmp_path / "b", "--model", bi_encoder, "--chunk-size", 12)
    assert {"x#1", "x#2", "x#3", "x#4"} <= set(stored(tmp_path / "b"))


# ---------------------------------------------------------------- running again


def test_only_what_changed_is_embedded(
    run: Run, docs: Path, tmp_path: Path, bi_encoder: Path, embedded: list[str]
) -> None:
    bundle = tmp_path / "bundle"
    first = counts(run("index", docs, "--into", bundle, "--model", bi_encoder, "--json"))
    del embedded[:]
    again = counts(run("index", docs, "--into", bundle, "--json"))
    assert again == {
        "added": 0,
        "changed": 0,
        "unchanged": first["added"],
        "deleted": 0,
        "documents": first["added"],
    }
    assert embedded == []
    (docs / "bees.txt").write_text("The bee has moved to the garden.")
    (docs / "new.txt").write_text("The whale is new in the river.")
    third = counts(run("index", docs, "--into", bundle, "--json"))
    assert (third["added"], third["changed"], third["deleted"]) == (1, 1, 0)
    assert sorted(embedded) == ["The bee has moved to the garden.", "The whale is new in the river."]


def test_chunks_that_vanished_are_deleted(run: Run, docs: Path, tmp_path: Path, bi_encoder: Path) -> None:
    bundle = tmp_path / "bundle"
    before = counts(run("index", docs, "--into", bundle, "--model", bi_encoder, "--json"))
    (docs / "guide" / "cats.md").write_text("# Cats\n\nThere are none.")
    after = counts(run("index", docs / "guide", "--into", bundle, "--json"))
    # Of another folder it has another name: nothing of the first is touched.
    assert (after["added"], after["deleted"]) == (1, 0)
    after = counts(run("index", docs, "--into", bundle, "--json"))
    assert (after["changed"], after["deleted"]) == (1, before["added"] - 2)
    assert set(stored(bundle)) == {"guide/cats.md#1", "cats.md#1", "bees.txt#1"}


def test_rows_that_vanished_are_deleted(run: Run, tmp_path: Path, bi_encoder: Path) -> None:
    table, bundle = tmp_path / "faq.csv", tmp_path / "bundle"
    options = ["--into", bundle, "--text-column", "answer", "--json"]
    table.write_text(FAQ)
    run("index", table, "--model", bi_encoder, *options)
    table.write_text("".join(FAQ.splitlines(keepends=True)[::2]))
    assert counts(run("index", table, *options)) == {
        "added": 0,
        "changed": 0,
        "unchanged": 1,
        "deleted": 1,
        "documents": 1,
    }


def test_files_that_vanished_are_deleted_where_that_is_asked_for(
    run: Run, docs: Path, tmp_path: Path, bi_encoder: Path
) -> None:
    bundle = tmp_path / "bundle"
    run("index", docs, "--into", bundle, "--model", bi_encoder)
    retriever = RerankRetriever.load_local(bundle)
    with retriever.recall:
        retriever.add_documents([Document(id="own", page_content="by hand", metadata={"source": "bees.txt"})])
    (docs / "bees.txt").unlink()
    assert counts(run("index", docs, "--into", bundle, "--json"))["deleted"] == 0
    assert "bees.txt#1" in stored(bundle)
    assert counts(run("index", docs, "--into", bundle, "--prune", "--json"))["deleted"] == 1
    assert {"own", "guide/cats.md#1"} <= set(stored(bundle))
    assert "bees.txt#1" not in stored(bundle)


def test_without_chunks_again(run: Run, docs: Path, tmp_path: Path, bi_encoder: Path) -> None:
    bundle = tmp_path / "bundle"
    run("index", docs, "--into", bundle, "--model", bi_encoder)
    run("index", docs, "--into", bundle, "--no-chunks")
    inside = stored(bundle)
    assert set(inside) == {"guide/cats.md", "bees.txt"}
    assert inside["guide/cats.md"][0] == CATS


# ---------------------------------------------------------------- bad lines


def test_a_bad_line_stops_before_anything_is_changed(
    run: Run, docs: Path, tmp_path: Path, bi_encoder: Path
) -> None:
    bundle = tmp_path / "bundle"
    (docs / "z.jsonl").write_text('{"text": "good"}\n{"text"\n')
    line = one_line(run("index", docs, "--into", bundle, "--model", bi_encoder))
    assert "z.jsonl, line 2: not a line of JSON" in line
    assert not bundle.exists()
    finished = run("index", docs, "--into", bundle, "--model", bi_encoder, "--skip-bad", "--json")
    assert json.loads(finished.out)["skipped"] == 1
    assert finished.err.startswith("langchain-rerank: skipped: ")
    before = stored(bundle)
    (docs / "bees.txt").write_text("changed")
    one_line(run("index", docs, "--into", bundle))
    assert stored(bundle) == before


def test_nothing_is_deleted_of_a_file_that_cannot_be_read(
    run: Run, docs: Path, tmp_path: Path, bi_encoder: Path
) -> None:
    bundle = tmp_path / "bundle"
    run("index", docs, "--into", bundle, "--model", bi_encoder)
    before = stored(bundle)
    (docs / "guide" / "cats.md").write_bytes(b"\xff")
    finished = run("index", docs, "--into", bundle, "--skip-bad", "--prune")
    assert "1 bad lines or files were skipped." in finished.out
    assert "cats.md, line 1: not UTF-8" in finished.err
    assert stored(bundle) == before


def test_many_bad_lines_are_not_told_one_by_one(run: Run, tmp_path: Path, bi_encoder: Path) -> None:
    table = tmp_path / "a.jsonl"
    table.write_text("?\n" * 50 + '{"text": "good"}\n')
    finished = run("index", table, "--into", tmp_path / "b", "--model", bi_encoder, "--skip-bad")
    assert len(finished.err.splitlines()) == 6
    assert finished.err.endswith("skipped: 45 more\n")


def test_a_chunk_with_the_id_of_a_row(run: Run, docs: Path, tmp_path: Path, bi_encoder: Path) -> None:
    (docs / "a.jsonl").write_text('{"id": "bees.txt#1", "text": "a row"}\n')
    line = one_line(run("index", docs, "--into", tmp_path / "b", "--model", bi_encoder))
    assert "The id 'bees.txt#1' is that of two documents" in line


# ---------------------------------------------------------------- mistakes


def test_mistakes_are_one_line(run: Run, docs: Path, tmp_path: Path, bi_encoder: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thing").write_text("x")
    new = ["--into", tmp_path / "b"]
    for arguments, message in (
        ((docs, *new), "is a new bundle; name the model that embeds its documents: --model NAME."),
        ((docs, "--into", tmp_path / "other", "--model", "x"), "other holds other things (thing)"),
        ((tmp_path / "nothing", *new, "--model", "x"), "nothing cannot be read: there is no such file"),
        ((tmp_path / "other", *new, "--model", "x"), "other has no file ending in .jsonl"),
        ((docs, *new, "--model", "x", "--encoding", "klingon"), "--encoding 'klingon' is not known"),
        ((docs, *new, "--model", "x", "--no-chunks", "--chunk-size", 9), "Expected --no-chunks or sizes"),
        ((docs, *new, "--model", tmp_path / "no-model"), "no-model"),
        (
            (docs, *new, "--model", bi_encoder, "--lexical", "klingon"),
            "lexical must be True, False or one of",
        ),
        (
            (docs, *new, "--model", bi_encoder, "--chunk-size", 900),
            "--chunk-size 900 is more than the 126 tokens",
        ),
    ):
        assert message in one_line(run("index", *arguments)), arguments
    assert run("index", docs).code == 2


def test_models_of_another_kind(
    run: Run, docs: Path, tmp_path: Path, bi_encoder: Path, cross_encoder: Path
) -> None:
    bundle = tmp_path / "bundle"
    run("index", docs / "bees.txt", "--into", bundle, "--model", bi_encoder)
    again = ["index", docs / "bees.txt", "--into", bundle]
    assert "was not made with --model" in one_line(run(*again, "--model", cross_encoder))
    assert "was not made with --reranker" in one_line(run(*again, "--reranker", cross_encoder))
    assert run(*again, "--model", bi_encoder).code == 0
    assert run(*again, "--lexical", "german").code == 2


def test_without_the_extra(
    run: Run, docs: Path, tmp_path: Path, bi_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "langchain_text_splitters", None)
    bundle = tmp_path / "bundle"
    line = one_line(run("index", docs, "--into", bundle, "--model", bi_encoder))
    assert line.endswith('Install it with: pip install "langchain-rerank-retriever[files]"')
    assert not bundle.exists()
    assert run("index", docs, "--into", bundle, "--model", bi_encoder, "--no-chunks").code == 0
    (tmp_path / "faq.csv").write_text(FAQ)
    assert run("index", tmp_path / "faq.csv", "--into", bundle, "--text-column", "answer").code == 0
    assert len(stored(bundle)) == 4


def test_answers_of_several_questions(run: Run, tmp_path: Path, bi_encoder: Path) -> None:
    faq, bundle = tmp_path / "faq.csv", tmp_path / "bundle"
    faq.write_text("q,a\nHow?,Press it.\nWhere?,In the hall.\nIn which way?, Press it.\n")
    arguments = ["index", faq, "--into", bundle, "--text-column", "a", "--model", bi_encoder]
    assert "Repeated texts: 1; an answer can be found twice" in run(*arguments).out
    assert len(stored(bundle)) == 3
    arguments.append("--distinct")
    assert "Repeated texts: 1; left out." in run(*arguments).out
    assert sorted(metadata["q"] for _, metadata in stored(bundle).values()) == ["How?", "Where?"]
    finished = json.loads(run(*arguments, "--json").out)
    assert (finished["unchanged"], finished["repeated"], finished["documents"]) == (2, 1, 2)


# ---------------------------------------------------------------- interruptions


def test_ctrl_c_keeps_what_is_committed(
    run: Run,
    docs: Path,
    tmp_path: Path,
    bi_encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
    embedded: list[str],
) -> None:
    bundle, whole = tmp_path / "bundle", tmp_path / "whole"
    run("index", docs, "--into", whole, "--model", bi_encoder)
    monkeypatch.setattr(upsert, "BATCH", 2)
    add, calls = FaissStore.add_documents, []

    def pressed(self: FaissStore, documents: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return add(self, documents, **kwargs)

    monkeypatch.setattr(FaissStore, "add_documents", pressed)
    finished = run("index", docs, "--into", bundle, "--model", bi_encoder)
    assert (finished.code, finished.out) == (130, "")
    assert finished.err.splitlines() == [
        "langchain-rerank: 4 documents were indexed and stay; the same command goes on from there."
    ]
    assert len(stored(bundle)) == 4
    assert run("verify", bundle, "--deep").code == 0
    del embedded[:]
    again = counts(run("index", docs, "--into", bundle, "--model", bi_encoder, "--json"))
    assert (again["unchanged"], again["added"]) == (4, len(embedded))
    assert stored(bundle) == stored(whole)


def test_a_bundle_that_was_not_finished(
    run: Run, docs: Path, tmp_path: Path, bi_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle"

    def pressed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RerankRetriever, "save_local", pressed)
        assert run("index", docs, "--into", bundle, "--model", bi_encoder).code == 130
    assert (bundle / "store").is_dir()
    assert not (bundle / "bundle.json").exists()
    assert run("index", docs, "--into", bundle, "--model", bi_encoder).code == 0
    assert "bees.txt#1" in stored(bundle)
    assert not (bundle / "store").exists()  # what the first run left is swept away


def test_a_real_model_reads_every_chunk_whole(
    run: Run, tmp_path: Path, minilm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Korean has several tokens a word in this model's English vocabulary; no chunk is longer than it reads."""
    text = "고양이는 정원에서 하루 종일 잔다. 강아지는 강가에서 큰 소리로 짖는다. " * 20
    (tmp_path / "a.txt").write_text(f"{text}\n\nThe cat sleeps in the garden.\n", encoding="utf-8")
    bundle = tmp_path / "bundle"
    assert run("index", tmp_path / "a.txt", "--into", bundle, "--model", minilm_folder).code == 0
    inside = stored(bundle)
    with PooledEmbeddings(minilm_folder) as embeddings:
        tokenizer, limit = embeddings.load_trainable()[0].tokenizer, embeddings.max_seq_length
        lengths = [len(tokenizer(piece, truncation=False)["input_ids"]) for piece, _ in inside.values()]
    assert len(lengths) > 3
    assert max(lengths) <= limit
    assert sorted(lengths)[-2] > limit / 2
    found = json.loads(run("search", bundle, "where does the cat sleep?", "-k", 1, "--json").out)
    assert "The cat sleeps in the garden." in found["documents"][0]["page_content"]

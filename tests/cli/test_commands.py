"""The commands: data on standard output, one line for a mistake, no traceback."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from rich.cells import cell_len

from langchain_rerank_retriever import FaissStore, RerankRetriever, __version__
from langchain_rerank_retriever.cli import app as app_module
from langchain_rerank_retriever.cli.output import print_documents, print_table, printable, say
from langchain_rerank_retriever.cli.search import _print_candidates
from langchain_rerank_retriever.protocols import ExplainedCandidate, Explanation
from langchain_rerank_retriever.runtime.choosing import derived
from langchain_rerank_retriever.store import indexing, snapshots, upkeep

from .conftest import Finished

Run = Callable[..., Finished]

COMMANDS = (
    "demo",
    "index",
    "tune",
    "search",
    "info",
    "verify",
    "repair",
    "evaluate",
    "compare",
    "bench",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(run: Run, command: str) -> None:
    finished = run(command, "--help")
    assert finished.code == 0
    assert f"Example: langchain-rerank {command}" in " ".join(finished.out.split())
    assert "--json" in finished.out


def test_help_names_every_command(run: Run) -> None:
    finished = run("--help")
    assert finished.code == 0
    assert all(command in finished.out for command in COMMANDS)
    assert {
        command.callback.__name__ for command in app_module.app.registered_commands if command.callback
    } == {*COMMANDS}


def test_version(run: Run) -> None:
    assert (run("--version").code, run("--version").out) == (0, f"{__version__}\n")


# ---------------------------------------------------------------- search


def test_search(run: Run, bundle: Path) -> None:
    finished = run("search", bundle, "where is the whale in the river", "--k", 2)
    assert finished.code == 0
    first, text, second, _ = finished.out.splitlines()
    assert first.startswith("1. whale-river  0.")
    assert first.endswith("(probability)")
    assert text.strip() == "The whale lives in the river. It eats number 43 and sleeps."
    assert second.startswith("2. ")


def test_search_as_json(run: Run, bundle: Path) -> None:
    finished = run("search", bundle, "whale river", "--k", 3, "--json")
    data = json.loads(finished.out)
    assert finished.code == 0
    assert data["query"] == "whale river"
    assert len(data["documents"]) == 3
    assert data["documents"][0]["id"] == "whale-river"
    assert data["documents"][0]["metadata"]["nested"] == {"place": "river"}
    scores = [one["metadata"]["relevance_score"] for one in data["documents"]]
    assert scores == sorted(scores, reverse=True)
    assert set(data["seconds"]) == {"recall", "rerank", "blend", "total"}
    assert "candidates" not in data


def test_explain(run: Run, bundle: Path) -> None:
    finished = run("search", bundle, "whale river", "--explain", "--fetch-k", 6, "--k", 2)
    assert finished.code == 0
    assert "outcome" in finished.out
    assert finished.out.count("below k") == 4
    assert finished.out.count("returned") == 2
    assert "ms" in finished.out
    data = json.loads(
        run("search", bundle, "whale river", "--explain", "--fetch-k", 6, "-k", 2, "--json").out
    )
    assert [one["rank"] for one in data["candidates"]] == [1, 2, 3, 4, 5, 6]
    assert [one["outcome"] for one in data["candidates"]] == ["returned"] * 2 + ["below_k"] * 4
    for one in data["candidates"]:
        assert one["lexical_score"] >= 0
        assert isinstance(one["rerank_score"], float)
        assert f"{one['dense_score']:.3f}" in finished.out
        assert one["id"] in finished.out


def candidate(name: str, truncated: bool | None) -> ExplainedCandidate:
    return ExplainedCandidate(
        document=Document(id=name, page_content="text"),
        rank=1,
        recall_rank=1,
        recall_score=0.5,
        dense_score=0.5,
        lexical_score=None,
        rerank_score=None if truncated is None else 2.0,
        blended_score=None,
        relevance_score=0.5,
        truncated=truncated,
        outcome="returned",
    )


@pytest.mark.parametrize(
    ("truncated", "shown"),
    [
        ([True, False, None], ["cut", "yes", "no", "-"]),
        ([False, False], ["cut", "no", "no"]),
        ([None, None], ["outcome", "returned", "returned"]),
    ],
)
def test_explain_shows_which_pairs_were_read_in_part(
    capsys: pytest.CaptureFixture[str], truncated: list[bool | None], shown: list[str]
) -> None:
    rows = tuple(candidate(f"d{place}", cut) for place, cut in enumerate(truncated))
    _print_candidates(Explanation("q", (), rows, {"total": 0.1}, "recall_score"))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[-1] for line in lines if line and line[0] in ("document", "d0", "d1", "d2")] == shown


def test_search_by_mode_and_by_parent(run: Run, bundle: Path) -> None:
    def found(*options: object) -> list[dict[str, Any]]:
        finished = run("search", bundle, "whale river", "--k", 9, "--json", *options)
        assert finished.code == 0
        return list(json.loads(finished.out)["documents"])

    assert all("dense_score" in one["metadata"] for one in found("--recall-mode", "dense"))
    every = found()
    places = [one["metadata"]["nested"]["place"] for one in every if "nested" in one["metadata"]]
    assert len(set(places)) < len(places)
    collapsed = found("--collapse", "nested.place")
    places = [one["metadata"]["nested"]["place"] for one in collapsed if "nested" in one["metadata"]]
    assert len(set(places)) == len(places)
    assert collapsed[0]["id"] == every[0]["id"]
    line = one_line(run("search", bundle, "whale", "--recall-mode", "sparse"))
    assert line.startswith("langchain-rerank: recall_mode must be one of")


def test_how_models_run(run: Run, bundle: Path) -> None:
    """Scores are those of the bundle opened in the same way."""

    def printed(*options: object) -> tuple[dict[str, float], str]:
        finished = run("search", bundle, "whale", "--explain", "--json", *options)
        assert finished.code == 0
        candidates = json.loads(finished.out)["candidates"]
        return {one["id"]: one["rerank_score"] for one in candidates}, finished.err

    def scored(**how: Any) -> dict[str, float]:
        retriever = RerankRetriever.load_local(bundle, read_only=True, **how)
        candidates = retriever.explain("whale").candidates
        return {str(one.document.id): one.rerank_score or 0.0 for one in candidates}

    exact, told = printed(
        "--precision", "float32", "--backend", "torch", "--device", "cpu", "--batch-size", 3
    )
    assert exact == pytest.approx(scored(precision="float32"), abs=1e-5)
    assert told == ""
    coarse, told = printed("--precision", "int8")
    assert coarse == pytest.approx(scored(precision="int8"), abs=1e-5)
    assert told.startswith("int8: correlation ")
    assert max(abs(coarse[one] - exact[one]) for one in coarse.keys() & exact.keys()) > 1e-4
    line = one_line(run("search", bundle, "whale", "--precision", "int4"))
    assert line.startswith("langchain-rerank: precision: expected one of")


def test_the_bundle_is_only_read(run: Run, bundle: Path) -> None:
    before = {path: path.read_bytes() for path in sorted(bundle.rglob("*")) if path.is_file()}
    run("search", bundle, "whale")
    run("verify", bundle, "--deep")
    run("info", bundle)
    assert {path: path.read_bytes() for path in sorted(bundle.rglob("*")) if path.is_file()} == before


# ---------------------------------------------------------------- info, verify


def test_info(run: Run, bundle: Path) -> None:
    finished = run("info", bundle)
    assert finished.code == 0
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in finished.out.splitlines()}
    assert lines["recall"] == "store/"
    assert lines["embeddings"] == "bi_encoder/"
    assert lines["reranker"] == "cross_encoder/"
    assert (lines["fetch_k"], lines["recall_mode"]) == ("20", "hybrid")
    assert lines["blend"] == "rerank 0.00, dense 0.00, lexical 1.00"
    assert lines["report"] == "26 held-out queries. Chosen: blended."
    assert lines["search"].startswith("exact, over ")
    assert lines["vectors"] == "are read into memory, from the database"
    data = json.loads(run("info", bundle, "--json").out)
    index = data.pop("index")
    assert data == json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    assert (index["kind"], index["setting"], index["mapped"], index["recall"]) == (
        "flat",
        "flat",
        False,
        None,
    )
    assert lines["search"] == f"exact, over {index['rows']} documents"


def unsealed(bundle: Path) -> dict[str, Any]:
    """What a bundle's manifest says, to be changed: with its checksum that would be damage."""
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    del manifest["checksum"]
    return manifest


@pytest.mark.parametrize(
    ("long_documents", "words"), [("truncate", "the beginning is read"), ("max", "all, in windows, is read")]
)
def test_info_tells_what_is_cut(
    run: Run, bundle: Path, tmp_path: Path, long_documents: str, words: str
) -> None:
    manifest = unsealed(bundle)
    manifest["reranker"] |= {"max_length": 1024, "long_documents": long_documents}
    cut = {"limit": 128, "documents": 4814, "median": 440, "longest": 7238}
    manifest["report"]["data_card"] = {"documents": 5439, "truncation": cut}
    (tmp_path / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    lines = run("info", tmp_path).out.splitlines()
    assert f"long pairs  of more than 1,024 tokens, {words}" in lines
    assert (
        "truncation  4,814 of 5,439 documents (89 %) are longer than the 128 tokens that training reads; "
        "median 440, longest 7,238"
    ) in lines


def test_info_tells_what_the_last_tuning_found(run: Run, bundle: Path, tmp_path: Path) -> None:
    manifest = unsealed(bundle)
    kept = {"threshold": 0.123, "dropped": 0.8}
    manifest["report"] |= {
        "chosen": "blended",
        "calibration": {"ece": 0.0213, "queries": 120, "thresholds": {"0.95": kept, "0.99": kept}},
        "systems": [
            {"name": name, "measures": {"R@100": 1.0, "nDCG@10": value, "RR@10": value}}
            for name, value in (("base", 0.5), ("blended", 0.75))
        ],
    }
    (tmp_path / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    lines = run("info", tmp_path).out.splitlines()
    assert (
        "calibration ECE 0.021 over 120 queries; score_threshold=0.12 keeps 95 % of the relevant candidates and drops "
        "80 % of all"
    ) in lines
    assert "tried       base: nDCG@10 0.500, R@100 1.000" in lines
    assert "tried       blended (served): nDCG@10 0.750, R@100 1.000" in lines


def test_info_tells_languages(run: Run, tmp_path: Path, hash_embeddings: Embeddings) -> None:
    texts = ["고양이는 정원에서 잔다", "the cat sleeps", "猫"]
    documents = [Document(page_content=text) for text in texts]
    made = RerankRetriever.from_documents(
        documents, embeddings=hash_embeddings, path=tmp_path / "store", lexical="german"
    )
    with made.recall:
        made.save_local(tmp_path)
    lines = run("info", tmp_path).out.splitlines()
    assert "documents   3, embedded by HashEmbeddings" in lines
    assert (
        "languages   Latin 52 %, Hangul 43 %, Han 4 % of the letters in the first 3; lexical index for german"
        in lines
    )
    index = json.loads(run("info", tmp_path, "--json").out)["index"]
    assert (index["lexical"], index["scripts"]["Latin"]) == ("german", round(12 / 23, 4))


def test_info_of_an_empty_store(run: Run, tmp_path: Path, hash_embeddings: Embeddings) -> None:
    with FaissStore(hash_embeddings, path=tmp_path / "store", lexical=False) as store:
        RerankRetriever(store).save_local(tmp_path)
    lines = run("info", tmp_path).out.splitlines()
    assert "documents   0" in lines
    assert "languages   no lexical index" in lines


def test_info_tells_how_the_store_searches(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hash_embeddings: Embeddings
) -> None:
    monkeypatch.setattr(indexing, "GRAPH_ROWS", 100)
    monkeypatch.setattr(snapshots, "MIN_ROWS", 100)
    monkeypatch.setattr(snapshots, "MAPPED_BYTES", 100)
    monkeypatch.setattr(upkeep, "QUIET", 0.01)
    documents = [Document(id=str(place), page_content=f"word{place} and more") for place in range(300)]
    path = tmp_path / "store"
    made = RerankRetriever.from_documents(documents, embeddings=hash_embeddings, path=path, index="hnsw")
    with made.recall as store:
        made.save_local(tmp_path)
        assert run("info", tmp_path).out.splitlines()[-2] == (
            'search      exact, over 300 documents; index="hnsw" makes a graph once there are enough'
        )
        recall = store.wait_until_ready(60).recall
        store.add_documents([Document(page_content="late")])
    finished = run("info", tmp_path)
    index = json.loads(run("info", tmp_path, "--json").out)["index"]
    assert finished.out.splitlines()[-2:] == [
        f"search      an HNSW graph over 300 documents, which found {100 * recall:.1f} % of the 100 nearest when made "
        f"(ef {index['ef']}); the other 1 exactly",
        "vectors     stay in a file, which searches read, from the snapshot "
        f"{index['snapshot']}, 1 changes behind",
    ]
    assert (index["kind"], index["rows"], index["graph_rows"], index["mapped"]) == ("hnsw", 301, 300, True)
    assert index["recall"] == recall


def test_info_of_a_store_that_cannot_be_read(run: Run, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text(
        (bundle / "bundle.json").read_text(encoding="utf-8"), encoding="utf-8"
    )
    finished = run("info", tmp_path)
    assert finished.code == 0
    assert "the store cannot be read: " in finished.out
    assert "lacks its folder 'store'" in json.loads(run("info", tmp_path, "--json").out)["index"]["problem"]


@pytest.mark.parametrize("card", [None, {}, {"documents": 3, "truncation": None}])
def test_info_without_a_card(run: Run, bundle: Path, tmp_path: Path, card: Any) -> None:
    manifest = unsealed(bundle)
    manifest["report"]["data_card"] = card
    manifest["reranker"] = {"foreign": "their.CrossEncoder"}
    (tmp_path / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    finished = run("info", tmp_path)
    assert finished.code == 0
    assert "long pairs" not in finished.out
    assert "truncation" not in finished.out


def test_verify(run: Run, bundle: Path) -> None:
    finished = run("verify", bundle, "--deep")
    assert (finished.code, finished.out) == (0, f"{bundle} is whole.\n")
    finished = run("verify", bundle, "--json")
    assert (finished.code, json.loads(finished.out)) == (0, {"ok": True, "problems": []})


def test_verify_says_what_is_wrong(run: Run, bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    with contextlib.closing(sqlite3.connect(copy / "store" / "store.db")) as connection:
        connection.execute("UPDATE vector SET value = zeroblob(length(value)) WHERE pk = 3")
        connection.commit()
    finished = run("verify", copy, "--deep", "--json")
    data = json.loads(finished.out)
    assert (finished.code, data["ok"]) == (1, False)
    assert len(data["problems"]) >= 1
    finished = run("verify", copy, "--deep")
    assert (finished.code, finished.out.splitlines()) == (1, data["problems"])


def test_repair(run: Run, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGCHAIN_RERANK_CACHE", str(tmp_path / "cache"))
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    finished = run("repair", copy)
    assert (finished.code, finished.out) == (0, f"{copy} needs no repair.\n")

    def damage() -> None:
        with contextlib.closing(sqlite3.connect(copy / "store" / "store.db")) as connection:
            connection.execute("DELETE FROM field WHERE pk < 5")
            connection.commit()

    damage()
    derived.write("0" * 32, {"fact": 1}, b"content")
    derived.write("1" * 32, {"fact": 1}, b"content")
    (tmp_path / "cache" / ("1" * 32) / "content.bin").write_bytes(b"contents")
    assert run("verify", copy, "--deep").code == 1
    finished = run("repair", copy)
    assert (finished.code, finished.out.splitlines()) == (
        0,
        [
            "repaired: the metadata index",
            "repaired: 1 of the models compiled on this machine, which are made again when they are needed",
        ],
    )
    kept = {path.name for path in (tmp_path / "cache").iterdir()}
    assert "0" * 32 in kept
    assert "1" * 32 not in kept
    assert run("verify", copy, "--deep").code == 0
    damage()
    finished = run("repair", copy, "--json")
    assert json.loads(finished.out) == {"ok": True, "repaired": ["the metadata index"], "problems": []}


def test_repair_says_what_it_cannot_repair(run: Run, bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    with contextlib.closing(sqlite3.connect(copy / "store" / "store.db")) as connection:
        connection.execute("UPDATE document SET text = 'another' WHERE pk = 3")
        connection.commit()

    def rows() -> list[object]:
        with contextlib.closing(sqlite3.connect(copy / "store" / "store.db")) as connection:
            return [
                connection.execute(f"SELECT * FROM {name}").fetchall()
                for name in ("document", "field", "vector")
            ]

    before = rows()
    finished = run("repair", copy, "--json")
    data = json.loads(finished.out)
    assert (finished.code, data["ok"], data["repaired"]) == (1, False, [])
    assert "restore a copy" in data["problems"][-1]
    assert rows() == before
    (copy / "store" / "store.db").write_bytes(b"nothing of the kind")
    finished = run("repair", copy)
    assert finished.code == 1
    assert "is not a database of this package" in finished.out


def test_a_changed_model_is_told(run: Run, bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    weights = copy / "bi_encoder" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-20] ^= 0x40
    weights.write_bytes(content)
    finished = run("verify", copy)
    assert (finished.code, finished.err) == (1, "")
    assert "is not the one that was saved" in finished.out
    finished = run("search", copy, "whale")
    assert finished.code == 2
    assert "is not the one that was saved" in one_line(finished)


# ---------------------------------------------------------------- the demo


def test_the_demo_answers_from_a_bundle(run: Run, bundle: Path) -> None:
    finished = run("demo", "--query", "bee in the kitchen", "--output", bundle, "-k", 1)
    assert finished.code == 0
    assert finished.out.startswith("1. bee-kitchen  0.")
    finished = run("demo", "--query", "bee in the kitchen", "--output", bundle, "-k", 2, "--json")
    data = json.loads(finished.out)
    assert [data["query"], data["documents"][0]["id"]] == ["bee in the kitchen", "bee-kitchen"]
    assert len(data["documents"]) == 2


# ---------------------------------------------------------------- mistakes


def one_line(finished: Finished) -> str:
    assert finished.out == ""
    assert "Traceback" not in finished.err
    (line,) = [line for line in finished.err.splitlines() if line.strip()]
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("search", "no-such-folder", "x"),
            "no-such-folder is no bundle: no such folder. Expected a folder that",
        ),
        (("info", "no-such-folder"), "no-such-folder is no bundle: no such folder"),
        (("verify", "no-such-folder"), "no-such-folder is no bundle: no such folder"),
        (("repair", "no-such-folder"), "no-such-folder is no bundle: no such folder"),
        (("demo", "--query", "x", "--output", "no-such-folder"), "no-such-folder is no bundle"),
        (("search", "BUNDLE", " "), "The query is blank; expected some text to search for."),
        (("search", "BUNDLE", "\udcff"), "The query cannot be written as UTF-8: it holds a lone surrogate"),
        (("demo", "--query", "", "--output", "BUNDLE"), "The query is blank"),
        (("info", "EMPTY"), "is no bundle: it has no bundle.json"),
    ],
)
def test_a_mistake_is_one_line(
    run: Run, bundle: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"BUNDLE": bundle, "EMPTY": tmp_path / "empty"}
    finished = run(*(places.get(one, one) for one in arguments))
    assert finished.code == 2
    line = one_line(finished)
    assert line.startswith("langchain-rerank: ")
    assert message in line


def test_an_unknown_package(run: Run, tmp_path: Path) -> None:
    finished = run("demo", "--packages", "numpy,no_such_package", "--output", tmp_path / "bundle")
    assert finished.code == 2
    last = finished.err.splitlines()[-1]
    assert last.startswith("langchain-rerank: No package 'no_such_package' is installed.")
    assert last.endswith("Install it with: pip install no_such_package")
    assert finished.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search",), "Missing argument"),
        (("search", "x", "y", "--k", "0"), "Invalid value for '--k' / '-k': "),
        (("search", "x", "y", "--k", "many"), "Invalid value for '--k' / '-k': "),
        (("search", "x", "y", "z"), "Got unexpected extra argument"),
        (("search", "x", "y", "--dance"), "No such option: --dance"),
        (("search", "x", "y", "--k"), "Option '--k' requires an argument"),
        (("index", "x"), "Missing option '--into'"),
        (("dance",), "No such command 'dance'"),
        (("--dance",), "No such option: --dance"),
    ],
)
def test_wrong_usage_is_one_plain_line(run: Run, arguments: tuple[str, ...], message: str) -> None:
    finished = run(*arguments)
    assert (finished.code, finished.out) == (2, "")
    (told,) = finished.err.splitlines()
    assert told.startswith(f"langchain-rerank: {message}")
    command = "" if arguments[0] in ("dance", "--dance") else f" {arguments[0]}"
    assert told.endswith(f". Try 'langchain-rerank{command} --help'.")


def test_a_warning_is_one_line_whatever_the_command(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "langchain_rerank_retriever.cli.info.run", lambda *_, **__: warnings.warn("told", stacklevel=1)
    )
    assert run("info", tmp_path) == Finished(0, "", "langchain-rerank: warning: told\n")


def test_a_damaged_bundle(run: Run, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text("{", encoding="utf-8")
    assert "bundle.json is damaged" in one_line(run("info", tmp_path))
    manifest = unsealed(bundle)
    for damage in ({"settings": None}, {"report": "?"}, {"recall": 3}, {"blend": [1]}):
        (tmp_path / "bundle.json").write_text(json.dumps(manifest | damage), encoding="utf-8")
        finished = run("info", tmp_path)
        assert finished.code == 2, damage
        assert "is damaged" in one_line(finished)
        assert "Traceback" not in finished.err


def test_an_error_of_several_lines_is_one_line(run: Run) -> None:
    finished = run("info", "no\nsuch\x1b[31mfolder")
    assert finished.code == 2
    assert "no such [31mfolder is no bundle" in one_line(finished)


def test_an_interruption(run: Run, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("langchain_rerank_retriever.cli.search.run", interrupt)
    finished = run("search", bundle, "x")
    assert finished.code == 130
    assert "Traceback" not in finished.err


# ---------------------------------------------------------------- what reaches the terminal


def test_control_characters_are_not_printed(run: Run, bundle: Path) -> None:
    for options in ((), ("--explain",)):
        finished = run("search", bundle, "hostilequery", "-k", 1, *options)
        assert "hostile" in finished.out
        assert "[bold]markup[/bold]" in finished.out
        assert not set(finished.out) & set("\x1b\x07\x08\x9b\u202e\r")
    finished = run("search", bundle, "hostilequery", "--json")
    assert "\x1b" not in finished.out
    assert json.loads(finished.out)["documents"][0]["page_content"].startswith("\x1b[31mred")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a [31mb"),
        ("a\n\t b", "a b"),
        ("a\u202eb\u200bc\ufeffd", "a b c d"),
        ("고양이 café 🎉", "고양이 café 🎉"),
        ("a\udcffb", "a b"),
        ("", ""),
        ("\x00", ""),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()


def test_nothing_found(capsys: pytest.CaptureFixture[str]) -> None:
    print_documents([])
    print_documents([Document(id=None, page_content="x" * 1000)])
    out = capsys.readouterr().out
    assert out.startswith("(nothing found)\n1. ")
    assert max(map(len, out.splitlines())) < 180


def test_a_table_in_a_pipe_is_as_wide_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["system", *(f"measure number {n}" for n in range(6))], [["[red]x[/red]", *["0.123"] * 6]])
    out = capsys.readouterr().out
    assert "measure number 5" in out
    assert "[red]x[/red]" in out


def command(*arguments: object) -> list[str]:
    code = "from langchain_rerank_retriever.cli import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def test_a_closed_pipe_is_quiet(bundle: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        finished = subprocess.run(
            command("info", bundle, "--json"), stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writer)
    assert finished.stderr == ""
    assert finished.returncode != 2


def test_a_process_of_its_own(bundle: Path) -> None:
    """Nothing but data on standard output, nothing but our line on standard error."""
    finished = subprocess.run(
        command("search", bundle, "whale river", "--json"), capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0
    assert json.loads(finished.stdout)["documents"][0]["id"] == "whale-river"
    assert finished.stderr == ""


@pytest.mark.parametrize("way", ["name", "link"])
def test_info_looks_at_no_file_outside(run: Run, bundle: Path, tmp_path: Path, way: str) -> None:
    made, other = tmp_path / "made", tmp_path / "other"
    (made / "bi_encoder").mkdir(parents=True)
    other.mkdir()
    config = {"model_type": "another", "num_hidden_layers": 7, "hidden_size": 8}
    (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (made / "bi_encoder" / "config.json").symlink_to(other / "config.json")
    manifest = unsealed(bundle)
    manifest["embeddings"]["folder"] = {"name": "../other", "link": "bi_encoder"}[way]
    (made / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert "another of 7 layers" not in run("info", made).out


def test_a_terminal_gets_prose_broken_between_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # by which rich takes anything for a terminal
    monkeypatch.setenv("COLUMNS", "40")
    text = "검색한 문서에 --text-column 이라는 열이 없습니다. [bold]Name[/bold] another one, or a model that has none."
    say(text, lead="한글  ")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 2
    assert all(cell_len(line) <= 40 for line in lines)
    assert lines[0].startswith("한글  검색한")
    assert all(line.startswith(" " * 6) and not line.startswith(" " * 7) for line in lines[1:])
    # Four characters of which two are twice as wide.
    assert " ".join([lines[0][4:], *(line[6:] for line in lines[1:])]) == text


def test_a_pipe_gets_prose_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("word " * 100, err=True)
    assert capsys.readouterr().err == "word " * 100 + "\n"

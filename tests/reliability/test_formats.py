"""Formats of before and of later (G20).

No version was released yet; the golden folders are of every form that a folder has had since the first commits (see
`formats_golden`). Whatever is older is opened as it is, but the very first form, which is refused in words. The one
migration there is: a lexical index whose terms were made by rules that are not known any more is made anew by the next
change, in the same transaction. What is of a later format is refused, and nothing in it is touched.
"""

import json
import logging
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from langchain_rerank_retriever import RerankRetriever
from langchain_rerank_retriever.cli import info, repair, verify
from langchain_rerank_retriever.errors import FormatError
from langchain_rerank_retriever.store import FaissStore, schema, snapshots, upkeep, view_file
from tests.store.helpers import content

from .damage import in_child
from .failing_writes import sqlites_vfs
from .formats import Vectors, executed, forget_terms, hashes, migrate, terms_of, unpacked
from .formats_golden import IDS, documents
from .goals import Count
from .scale import at_scale

Goal = Callable[[str], AbstractContextManager[Count]]

STORES = ("store-1-old-terms", "store-1", "store-2")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden stores have snapshots, small as they are."""
    monkeypatch.setattr(snapshots, "MIN_ROWS", 1)
    monkeypatch.setattr(upkeep, "QUIET", 60.0)


def opened(folder: Path, **settings: Any) -> FaissStore:
    return FaissStore(Vectors(), path=folder, **settings)


# ---------------------------------------------------------------- before


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("read_only", [True, False])
def test_golden_stores(
    goal: Goal, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, read_only: bool
) -> None:
    if name == "store-2":
        pytest.importorskip("Stemmer")
    folder = unpacked(name, tmp_path / "store")
    before = hashes(folder)
    with goal("G20") as count, opened(folder, read_only=read_only) as store:
        assert content(store) == documents()
        assert store.similarity_search("article 9 tells", k=50)
        assert store.similarity_search_with_score("another text", k=1)[0][0].id == "id-7"
        assert len(store.lexical_search("number2", k=50)) == 4
        assert {one.id for one in store.similarity_search("x", 50, {"group": 9})} == {"id-7"}
        # A Python or a stemmer of another version has other rules for terms, which is told until something is written.
        with store._engine.snapshot() as snapshot:
            same_rules = snapshot.state.terms == snapshot.state.analyzer.rules
        assert store.verify(deep=True).ok == same_rules
        assert caplog.messages == []
        assert hashes(folder)["store.db"] == before["store.db"]
        if not read_only:
            store.add_texts(["a late article"], ids=["late"])
            store.delete(["id-9"])
            assert store.verify(deep=True).ok
            assert [one.id for one in store.lexical_search("late")] == ["late"]
        count.done += 1
    with opened(folder) as store:
        assert len(store) == len(documents())


def test_the_very_first_form_is_refused(goal: Goal, tmp_path: Path) -> None:
    folder = unpacked("store-0", tmp_path / "store")
    before = hashes(folder)
    with goal("G20") as count:
        for read_only in (True, False):
            with pytest.raises(FormatError, match=r"another table 'state'.*index the documents anew"):
                opened(folder, read_only=read_only)
        assert hashes(folder) == before
        count.done += 1


def test_a_golden_bundle_of_the_first_format(goal: Goal, tmp_path: Path) -> None:
    folder = unpacked("bundle-1", tmp_path / "bundle")
    # Its store is of the very first form; the manifest is what is tested.
    unpacked("store-1", folder / "store")
    before = hashes(folder)
    with goal("G20") as count:
        loaded = RerankRetriever.load_local(folder, embeddings=Vectors(), read_only=True)
        with loaded.recall as store:
            assert (loaded.k, loaded.fetch_k, loaded.recall_mode) == (3, 9, "hybrid")
            assert (loaded.collapse, loaded.early_stop) == (None, False)
            assert content(store) == documents()
            assert loaded.invoke("another text")[0].id == "id-7"
        assert {name: digest for name, digest in hashes(folder).items() if name in before} == before
        count.done += 1


def test_a_golden_cascade(goal: Goal, tmp_path: Path) -> None:
    folder = unpacked("bundle-2", tmp_path / "bundle")
    before = hashes(folder)
    with goal("G20") as count:
        loaded = RerankRetriever.load_local(folder, embeddings=Vectors(), read_only=True)
        with loaded.recall as store:
            assert [stage.top_n for stage in loaded.reranker] == [6, 3]
            assert content(store) == documents()
            assert len(loaded.invoke("article tells")) == 3
        for stage in loaded.reranker:
            stage.model.close()
        assert {name: digest for name, digest in hashes(folder).items() if name in before} == before
        count.done += 1


@pytest.mark.parametrize("name", ["store-1-old-terms", "store-1"])
def test_what_needs_no_later_format_has_none(tmp_path: Path, name: str) -> None:
    """So an earlier version opens a folder that this one has changed."""
    folder = unpacked(name, tmp_path / "store")
    with opened(folder) as store:
        store.add_texts(["new"])
        store.save_local(tmp_path / "copy")
    for one in (folder, tmp_path / "copy"):
        with closing(sqlite3.connect(one / "store.db")) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (schema.FIRST_FORMAT,)


# ---------------------------------------------------------------- the migration


@pytest.mark.skipif(sqlites_vfs() is None, reason="Python does not show SQLite's library")
def test_kills_of_a_migration(goal: Goal, tmp_path: Path) -> None:
    def begun() -> Path:
        folder = unpacked("store-1", tmp_path / "store")
        for file in folder.glob("store.db-*"):
            file.unlink()
        forget_terms(folder)
        return folder

    calls = in_child(lambda: migrate(begun(), 0)).facts["calls"]
    with opened(tmp_path / "store") as store:
        assert store.lexical_search("termofbefore") == []
    kills = at_scale(4, 20, calls)
    done = 0
    with goal("G20") as count:
        for kill in range(kills):
            folder, at = begun(), 1 + kill * calls // kills
            pid = os.fork()
            if pid == 0:
                try:
                    migrate(folder, at)
                finally:
                    os._exit(0)
            assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
            done += _migrated(folder)
            count.done += 1
        count.note = f"{calls} calls of SQLite's; after {done} of {kills} kills it was done, after the others not begun"


def _migrated(folder: Path) -> bool:
    """Whether a killed migration is done, or not begun; anything between fails."""
    with opened(folder) as store:
        migrated = "late" in content(store)
        assert content(store) == documents() | ({"late": ("a late article", {})} if migrated else {})
        assert bool(store.lexical_search("termofbefore")) != migrated
        assert ("Unicode 9.0.0" not in terms_of(folder)) == migrated
        store.add_texts(["a late article"], ids=["later"])
        assert {one.id for one in store.lexical_search("late")} == {"later", *(["late"] if migrated else [])}
        assert store.verify(deep=True).ok
    return migrated


# ---------------------------------------------------------------- later


def later_store(folder: Path) -> str:
    executed(folder, f"PRAGMA user_version = {schema.FORMAT + 1}")
    return rf"format {schema.FORMAT + 1}, .*upgrade the package"


def test_a_store_of_a_later_format(goal: Goal, tmp_path: Path) -> None:
    folder = unpacked("store-1", tmp_path / "store")
    message, before = later_store(folder), hashes(folder)
    with FaissStore(Vectors()) as other:
        other.add_texts(["x"])
        calls: list[Callable[[], Any]] = [
            lambda: opened(folder),
            lambda: opened(folder, read_only=True),
            lambda: opened(folder, check_model=False, memory_map=True),
            lambda: FaissStore.load_local(folder, Vectors()),
            lambda: FaissStore.from_texts(["x"], Vectors(), path=folder),
            lambda: other.save_local(folder),
        ]
        with goal("G20") as count:
            for call in calls:
                with pytest.raises(FormatError, match=message):
                    call()
                assert hashes(folder) == before
                count.done += 1


@pytest.mark.parametrize("part", ["manifest", "store"])
def test_a_bundle_of_a_later_format(
    goal: Goal, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    folder = unpacked("bundle-1", tmp_path / "bundle")
    unpacked("store-1", folder / "store")
    message = later_store(folder / "store") if part == "store" else r"of format 99; .*install a newer one"
    if part == "manifest":
        manifest = json.loads((folder / "bundle.json").read_text())
        (folder / "bundle.json").write_text(json.dumps({**manifest, "format": 99}))
    before = hashes(folder)
    calls: list[Callable[[], Any]] = [lambda: RerankRetriever.load_local(folder, embeddings=Vectors())]
    if part == "manifest":
        with FaissStore(Vectors()) as other:
            calls += [
                lambda: RerankRetriever(other).save_local(folder),
                lambda: info.run(folder, as_json=True),
            ]
    with goal("G20") as count:
        for call in calls:
            with pytest.raises(FormatError, match=message):
                call()
            assert hashes(folder) == before
            count.done += 1
        for command in (
            lambda: verify.run(folder, deep=True, as_json=True),
            lambda: repair.run(folder, as_json=True),
        ):
            assert command() is False
            assert json.loads(capsys.readouterr().out)["problems"]
            assert hashes(folder) == before
            count.done += 1


def test_a_snapshot_of_a_later_form(goal: Goal, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It saves time at most, so it is left alone and the vectors are read from the database."""
    caplog.set_level(logging.WARNING)
    folder = unpacked("store-1", tmp_path / "store")
    (file,) = folder.glob("*.snapshot")
    file.write_bytes(file.read_bytes().replace(view_file.MAGIC, view_file.MAGIC.replace(b"1", b"2")))
    before = hashes(folder)
    with goal("G20") as count, opened(folder, read_only=True) as store:
        assert content(store) == documents()
        assert [one.id for one in store.get_by_ids(IDS)] == list(documents())
        assert len(store.similarity_search("x", k=50)) == len(documents())
        assert "the vectors are read from the database instead" in caplog.text
        assert hashes(folder)[file.name] == before[file.name]
        count.done += 1

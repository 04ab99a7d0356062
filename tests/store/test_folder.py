"""The folder: opening, refusing, copying, damage."""

import hashlib
import os
import random
import shutil
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever.errors import (
    ClosedError,
    FormatError,
    InvalidArgumentError,
    ReadOnlyError,
    RerankError,
    StorageError,
)
from langchain_rerank_retriever.store import FaissStore, connections, schema
from tests.conftest import HashEmbeddings

from .helpers import FastEmbeddings, content, stored_vectors

TEXTS = [f"text number {i}" for i in range(40)]
IDS = [str(i) for i in range(40)]


def make(folder: Path, **settings: Any) -> FaissStore:
    store = FaissStore(FastEmbeddings(), path=folder, **settings)
    store.add_texts(TEXTS, [{"n": i, "tag": ["x", "y"]} for i in range(40)], ids=IDS)
    return store


def fingerprints(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_everything_survives_reopening(tmp_path: Path) -> None:
    with make(tmp_path / "new" / "store") as store:
        before = content(store), stored_vectors(store), store.similarity_search_with_score("text", k=40)
        lexical = store.lexical_search_with_score("text number 7", k=40)
    with FaissStore(FastEmbeddings(), path=str(tmp_path / "new" / "store")) as store:
        assert content(store) == before[0]
        assert all(np.array_equal(vector, before[1][name]) for name, vector in stored_vectors(store).items())
        assert store.similarity_search_with_score("text", k=40) == before[2]
        assert store.lexical_search_with_score("text number 7", k=40) == lexical
        assert store.path == tmp_path / "new" / "store"
    assert [file.name for file in (tmp_path / "new" / "store").iterdir()] == ["store.db"]


def test_a_store_on_a_path_with_odd_characters(tmp_path: Path) -> None:
    folder = tmp_path / "a b%20c?x#y 한글'\""
    make(folder).close()
    with FaissStore.load_local(folder, FastEmbeddings()) as store:
        assert len(store) == 40


def test_from_texts_adds_to_what_is_there(tmp_path: Path) -> None:
    make(tmp_path / "s").close()
    with FaissStore.from_texts(["new"], FastEmbeddings(), ids=["new"], path=tmp_path / "s") as store:
        assert len(store) == 41


@pytest.mark.parametrize("method", ["path", "load_local"])
def test_foreign_things_are_refused_and_left_alone(tmp_path: Path, method: str) -> None:
    def open_store(folder: Path) -> FaissStore:
        if method == "path":
            return FaissStore(FastEmbeddings(), path=folder)
        return FaissStore.load_local(folder, FastEmbeddings())

    file = tmp_path / "file"
    file.write_text("hello")
    with pytest.raises(StorageError, match=r"is a file|no store at"):
        open_store(file)
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("hello")
    with pytest.raises(StorageError, match=r"other things in it|no store at"):
        open_store(full)
    other = tmp_path / "other"
    other.mkdir()
    (other / "store.db").write_bytes(b"this is not a database, but longer than a header " * 10)
    with pytest.raises(FormatError, match="not a database of this package"):
        open_store(other)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    connection = sqlite3.connect(foreign / "store.db")
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    marks = [fingerprints(folder) for folder in (full, other, foreign)]
    with pytest.raises(FormatError, match="another program"):
        open_store(foreign)
    assert [fingerprints(folder) for folder in (full, other, foreign)] == marks


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    make(tmp_path / "s").close()
    connection = sqlite3.connect(tmp_path / "s" / "store.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    marks = fingerprints(tmp_path / "s")
    for read_only in (False, True):
        with pytest.raises(FormatError, match=r"format 99.*reads up to 2.*upgrade"):
            FaissStore(FastEmbeddings(), path=tmp_path / "s", read_only=read_only)
    assert fingerprints(tmp_path / "s") == marks


def test_a_folder_whose_making_was_cut_off(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "store.db").touch()
    with FaissStore(FastEmbeddings(), path=folder) as store:
        store.add_texts(["a"])
        assert store.verify(deep=True).ok


def test_missing_stores(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no store at"):
        FaissStore.load_local(tmp_path / "none", FastEmbeddings())
    with pytest.raises(StorageError, match="no store at"):
        FaissStore(FastEmbeddings(), path=tmp_path / "none", read_only=True)
    with pytest.raises(InvalidArgumentError, match="needs a path"):
        FaissStore(FastEmbeddings(), read_only=True)
    assert not (tmp_path / "none").exists()


def test_settings_of_the_folder_win(tmp_path: Path) -> None:
    make(tmp_path / "s", lexical=False).close()
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        assert store.settings == {
            "index": "flat",
            "lexical": False,
            "dimension": 16,
            "model": "FastEmbeddings",
            "fingerprint": None,
            "format": 1,
        }
    FaissStore(FastEmbeddings(), path=tmp_path / "s", lexical=False, index="flat").close()
    with pytest.raises(InvalidArgumentError, match="made with lexical=False, got lexical=True"):
        FaissStore(FastEmbeddings(), path=tmp_path / "s", lexical=True)
    FaissStore(FastEmbeddings(), path=tmp_path / "auto", index="auto").close()
    with pytest.raises(InvalidArgumentError, match="made with index='auto', got index='flat'"):
        FaissStore(FastEmbeddings(), path=tmp_path / "auto", index="flat")


@pytest.mark.parametrize("made", schema.INDEX_KINDS)
@pytest.mark.parametrize("asked", schema.INDEX_KINDS)
def test_an_index_that_is_asked_for_is_the_one_that_the_store_has(
    tmp_path: Path, made: str, asked: str
) -> None:
    """``"auto"`` is one of them: it does not mean whatever there is, which None does."""
    FaissStore(FastEmbeddings(), path=tmp_path / "s", index=made).close()
    if asked == made:
        FaissStore(FastEmbeddings(), path=tmp_path / "s", index=asked).close()
    else:
        with pytest.raises(InvalidArgumentError, match=f"made with index='{made}', got index='{asked}'"):
            FaissStore(FastEmbeddings(), path=tmp_path / "s", index=asked)
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        assert store.settings["index"] == made


def test_read_only(tmp_path: Path) -> None:
    make(tmp_path / "s").close()
    marks = fingerprints(tmp_path / "s")
    with FaissStore.load_local(tmp_path / "s", FastEmbeddings(), read_only=True) as store:
        assert len(store.similarity_search("text", k=50)) == 40
        changes: list[Any] = [
            lambda: store.add_texts(["x"]),
            lambda: store.add_texts([]),
            lambda: store.add_embeddings(["x"], [[1.0] * 16]),
            lambda: store.delete(["1"]),
            store.clear,
            lambda: store.reembed(FastEmbeddings(seed=1)),
        ]
        for change in changes:
            with pytest.raises(ReadOnlyError, match="read_only=True"):
                change()
        assert store.verify(deep=True).ok
        store.save_local(tmp_path / "copy")
    assert fingerprints(tmp_path / "s")["store.db"] == marks["store.db"]
    assert len(FaissStore.load_local(tmp_path / "copy", FastEmbeddings())) == 40


def test_a_read_only_store_sees_what_others_write(tmp_path: Path) -> None:
    with (
        make(tmp_path / "s") as writer,
        FaissStore(FastEmbeddings(), path=tmp_path / "s", read_only=True) as reader,
    ):
        assert len(reader) == 40
        writer.add_texts(["new"], ids=["new"])
        assert reader.similarity_search("new", k=1)[0].id == "new"
        writer.delete(["new"])
        assert len(reader) == 40


@pytest.mark.parametrize("in_memory", [True, False])
def test_save_and_load(tmp_path: Path, in_memory: bool) -> None:
    store = make(tmp_path / "s") if not in_memory else FaissStore(FastEmbeddings())
    if in_memory:
        store.add_texts(TEXTS, ids=IDS)
    store.delete(["3"])
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "copy", tmp_path / "empty", tmp_path / "deep" / "er"):
        store.save_local(target)
        with FaissStore.load_local(target, FastEmbeddings()) as copy:
            assert content(copy) == content(store)
            assert copy.similarity_search_with_score("text", k=50) == store.similarity_search_with_score(
                "text", k=50
            )
            assert copy.lexical_search_with_score("number", k=50) == store.lexical_search_with_score(
                "number", k=50
            )
            assert copy.verify(deep=True).ok
            copy.add_texts(["only in the copy"])
        assert len(store) == 39
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_saving_over_an_earlier_copy_reaches_who_has_it_open(tmp_path: Path) -> None:
    store = make(tmp_path / "s")
    store.save_local(tmp_path / "copy")
    with FaissStore.load_local(tmp_path / "copy", FastEmbeddings()) as reader:
        assert len(reader) == 40
        # As many changes on both sides, so that only the generation tells them apart.
        reader.delete(["1"])
        store.delete(["2"])
        store.save_local(tmp_path / "copy")
        assert list(content(reader)) == list(content(store))
        assert reader.similarity_search("text", k=50) == store.similarity_search("text", k=50)
        store.save_local(tmp_path / "s")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(FormatError, match="no store of this package"):
        store.save_local(tmp_path / "full")
    with pytest.raises(StorageError):
        store.save_local(tmp_path / "full" / "x")


def test_saving_while_others_write(tmp_path: Path) -> None:
    store = make(tmp_path / "s")
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            store.add_texts([f"pair {number} a", f"pair {number} b"], ids=[f"{number}a", f"{number}b"])
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(10):
        store.save_local(tmp_path / "copy")
        with FaissStore.load_local(tmp_path / "copy", FastEmbeddings(), read_only=True) as copy:
            assert len(copy) % 2 == 0
            assert copy.verify(deep=True).ok
    stop.set()
    writer.join()


@pytest.mark.parametrize("in_memory", [True, False])
def test_closed(tmp_path: Path, in_memory: bool) -> None:
    store = FaissStore(FastEmbeddings()) if in_memory else make(tmp_path / "s")
    documents = store.documents()
    store.close()
    store.close()
    calls: list[Any] = [
        lambda: store.similarity_search("x"),
        lambda: store.lexical_search("x"),
        lambda: store.add_texts(["x"]),
        lambda: store.add_texts([]),
        lambda: store.delete(["x"]),
        lambda: store.get_by_ids(["x"]),
        lambda: len(store),
        lambda: store.save_local(tmp_path / "copy"),
        store.clear,
        lambda: next(documents),
        lambda: store.settings,
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="was closed"):
            call()
    assert "closed" in repr(store)
    assert not store.verify().ok


def test_repr(tmp_path: Path) -> None:
    with make(tmp_path / "s") as store:
        assert "documents=40" in repr(store)
        assert "index='flat'" in repr(store)
    assert "in memory" in repr(FaissStore(FastEmbeddings()))


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    with make(tmp_path / "s") as store:
        with store._engine.connections.writing() as connection:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
        for idle in list(store._engine.connections._open):
            idle.execute(f"PRAGMA max_page_count = {pages + 4}")
        with pytest.raises(StorageError, match="No space left"):
            store.add_texts([f"{i} " * 500 for i in range(300)])
        assert len(store) == 40
        assert store.verify(deep=True).ok
        for idle in list(store._engine.connections._open):
            idle.execute("PRAGMA max_page_count = 100000")
        store.add_texts([f"{i} " * 500 for i in range(300)])
        assert len(store) == 340


def test_a_lock_that_is_not_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.2)
    with make(tmp_path / "s") as store:
        other = sqlite3.connect(tmp_path / "s" / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked"):
            store.add_texts(["x"])
        assert len(store.similarity_search("text")) == 4
        other.execute("ROLLBACK")
        other.close()
        store.add_texts(["x"])
        assert len(store) == 41


def test_no_permission_to_write_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "store").close()
    with sqlite3.connect(tmp_path / "store" / "store.db") as connection:
        # So opening must write to the file, as to one that was copied from a store that was being used.
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    # Tests may run as a user who may write everywhere; SQLite refuses in the same way.
    monkeypatch.setattr(schema, "connect", lambda file, **_: connections.connect(file, read_only=True))
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"may not be written to.*read_only=True"):
        FaissStore(FastEmbeddings(), path=tmp_path / "store")
    assert time.monotonic() - began < connections.BUSY_SECONDS / 10


@pytest.mark.parametrize("place", [18, 19])
def test_a_header_of_which_sqlite_knows_no_way_of_writing(tmp_path: Path, place: int) -> None:
    make(tmp_path / "store").close()
    file = tmp_path / "store" / "store.db"
    content = bytearray(file.read_bytes())
    content[place] ^= 16
    file.write_bytes(content)
    with pytest.raises(FormatError, match=r"first bytes: restore a copy"):
        FaissStore(FastEmbeddings(), path=tmp_path / "store")


def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    store = make(tmp_path / "s")
    store.close()
    store = FaissStore(FastEmbeddings(), path=tmp_path / "s")
    (tmp_path / "s").rename(tmp_path / "moved")
    store._engine.connections._idle.clear()
    with pytest.raises(StorageError, match="cannot be opened"):
        store.similarity_search("x")


def same_answers(store: FaissStore, expected: dict[str, Any]) -> bool:
    return (
        content(store) == expected["content"]
        and [d.id for d in store.similarity_search("text number 7", k=40)] == expected["dense"]
        and [document.page_content for document in store.get_by_ids(["7"])] == ["text number 7"]
    )


def test_damage_is_never_a_wrong_answer(tmp_path: Path) -> None:
    with make(tmp_path / "s") as store:
        expected = {
            "content": content(store),
            "dense": [d.id for d in store.similarity_search("text number 7", k=40)],
        }
    file = tmp_path / "s" / "store.db"
    whole = file.read_bytes()
    rng = random.Random(11)
    outcomes = {"refused": 0, "right": 0, "reported": 0}
    for trial in range(300):
        damaged = bytearray(whole)
        if trial % 4 == 0:
            damaged = damaged[: rng.randrange(len(damaged))]
        elif trial % 4 == 1:
            start = rng.randrange(len(damaged))
            damaged[start : start + 500] = bytes(min(500, len(damaged) - start))
        else:
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        for name in ("store.db-wal", "store.db-shm"):
            (tmp_path / "s" / name).unlink(missing_ok=True)
        if not damaged:
            continue
        started = time.monotonic()
        try:
            with FaissStore(FastEmbeddings(), path=tmp_path / "s", read_only=True) as store:
                right = same_answers(store, expected)
                whole_store = store.verify(deep=True).ok
            assert right or not whole_store, f"trial {trial}: a wrong answer, and verify() sees nothing"
            outcomes["right" if whole_store else "reported"] += 1
        except RerankError:
            outcomes["refused"] += 1
        assert time.monotonic() - started < 10
    assert outcomes["refused"] > 20


def flip(file: Path, pattern: bytes, place: int) -> None:
    data = bytearray(file.read_bytes())
    assert data.count(pattern) == 1
    data[data.index(pattern) + place] ^= 1
    file.write_bytes(data)


def test_the_smallest_change_of_a_vector_is_noticed(tmp_path: Path) -> None:
    with make(tmp_path / "s") as store:
        vector = stored_vectors(store)["7"]
    # The last bit of a mantissa: the vector is still of length one.
    flip(tmp_path / "s" / "store.db", vector.tobytes(), 8)
    with pytest.raises(FormatError, match=r"vector of document number 8 is damaged.*restore"):
        FaissStore(FastEmbeddings(), path=tmp_path / "s")


@pytest.mark.parametrize("part", [b"text number 7", b'{"n":7,"tag"'])
def test_a_changed_letter_of_a_document_is_noticed(tmp_path: Path, part: bytes) -> None:
    make(tmp_path / "s").close()
    flip(tmp_path / "s" / "store.db", part, 6 if part.startswith(b"{") else 2)
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        assert store.get_by_ids(["8"])
        with pytest.raises(FormatError, match="document '7' is damaged"):
            store.get_by_ids(["7"])
        with pytest.raises(FormatError, match="document '7' is damaged"):
            store.similarity_search("text", k=40)
        assert store.verify().ok
        assert "document '7' is damaged" in " ".join(store.verify(deep=True).problems)


def test_what_a_killed_save_left_is_removed_in_time(tmp_path: Path) -> None:
    old, young = tmp_path / ".copy.tmp-old", tmp_path / ".copy.tmp-young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "store.db").touch()
    os.utime(old, (0, 0))
    FaissStore(FastEmbeddings()).save_local(tmp_path / "copy")
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.skipif(os.name != "posix", reason="umask")
def test_a_saved_folder_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        FaissStore(FastEmbeddings()).save_local(tmp_path / "copy")
    finally:
        os.umask(before)
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o755


def test_a_table_whose_very_making_is_damaged(tmp_path: Path) -> None:
    """SQLite then fails at decoding what it tells, which is not an error of its own."""
    FaissStore.from_texts(["one"], FastEmbeddings(), path=tmp_path / "s").close()
    file = tmp_path / "s" / "store.db"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"TEXT NOT NULL, vector BLOB", b"TEXT NOT NULL, ve\xe3tor BLOB", 1))
    assert file.read_bytes() != whole
    with pytest.raises(FormatError, match=r"is damaged.*restore a copy"):
        FaissStore(FastEmbeddings(), path=tmp_path / "s")


def test_a_revision_is_of_one_state_of_texts_and_vectors(tmp_path: Path) -> None:
    model, path = HashEmbeddings(), tmp_path / "store"
    seen = list[str]()
    with FaissStore(model, path=path) as store:
        seen.append(store.revision)
        store.add_texts(["a river", "a bridge"], [{"year": 1}, {"year": 1}], ids=["r", "b"])
        seen.append(store.revision)
        store.add_texts(["a wide river"], [{"year": 1}], ids=["r"])
        seen.append(store.revision)
        store.add_embeddings(["a river"], [model.embed_query("a wide river")], [{"year": 1}], ids=["r"])
        seen.append(store.revision)
        store.delete(["b"])
        seen.append(store.revision)
        store.reembed(HashEmbeddings(seed=1))
        seen.append(store.revision)
        store.add_texts(["a river"], [{"year": 2}], ids=["r"])
        store.delete(["b"])
        assert store.revision == seen[-1]
        store.save_local(tmp_path / "copy")
    with FaissStore(HashEmbeddings(seed=1), path=tmp_path / "copy", read_only=True) as copy:
        seen.append(copy.revision)
    assert len(set(seen)) == len(seen) == 7
    shutil.copytree(path, tmp_path / "same files")
    for folder in (path, tmp_path / "same files"):
        with FaissStore(HashEmbeddings(seed=1), path=folder, read_only=True) as again:
            assert again.revision == seen[-2]

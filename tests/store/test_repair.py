"""Repair: what is derived is made anew, what is not is left alone, and it is told."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever.errors import FormatError, ReadOnlyError
from langchain_rerank_retriever.store import FaissStore, indexing, snapshots, upkeep

from .helpers import FastEmbeddings

COUNT = 120
TEXTS = [
    f"passage number {place} tells of word{place % 7} and of 한국어{place % 5}" for place in range(COUNT)
]
IDS = [str(place) for place in range(COUNT)]
METADATA = [{"group": place % 4, "nested": {"tags": [f"t{place % 3}", "all"]}} for place in range(COUNT)]
REMEDY = "restore a copy that save_local() made, or index the documents anew"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few documents have a snapshot and a graph, and nothing is made in the background unless it is waited for."""
    monkeypatch.setattr(snapshots, "MIN_ROWS", 50)
    monkeypatch.setattr(indexing, "GRAPH_ROWS", 50)
    monkeypatch.setattr(upkeep, "QUIET", 60.0)


@pytest.fixture(params=["flat", "hnsw"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with FaissStore(FastEmbeddings(), path=tmp_path / "store", index=request.param) as store:
        store.add_texts(TEXTS[:-20], METADATA[:-20], ids=IDS[:-20])
        store.add_texts(TEXTS[-20:], METADATA[-20:], ids=IDS[-20:])
        store.wait_until_ready(60)
    return tmp_path / "store"


def opened(folder: Path, **settings: Any) -> FaissStore:
    return FaissStore(FastEmbeddings(), path=folder, **settings)


def answers(store: FaissStore) -> list[Any]:
    """What each derived part answers, exactly."""
    query = np.random.default_rng(3).standard_normal(16)
    return [
        store.similarity_search_with_score_by_vector(query, k=60),
        store.lexical_search_with_score("word3 한국어2", k=COUNT),
        [document.id for document in store.similarity_search("x", k=COUNT, filter={"nested.tags": "t1"})],
        [document.id for document in store.similarity_search("x", k=COUNT, filter={"group": {"$gte": 2}})],
        store.index_info.kind,
        list(store.documents()),
    ]


@pytest.fixture
def before(folder: Path) -> list[Any]:
    with opened(folder, read_only=True) as store:
        return answers(store)


def change(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "store.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def damage_snapshot(folder: Path, how: Callable[[bytearray], Any]) -> None:
    (file,) = folder.glob("*.snapshot")
    content = bytearray(file.read_bytes())
    how(content)
    file.write_bytes(content)


def leave_an_index_behind(folder: Path) -> None:
    """A vector says that it came with the first change, SQLite's index of changes that it came with the second."""
    with closing(sqlite3.connect(folder / "store.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        rows = connection.execute("SELECT * FROM sqlite_master WHERE name = 'vector_seq'").fetchall()
        connection.execute("DELETE FROM sqlite_master WHERE name = 'vector_seq'")
    with closing(sqlite3.connect(folder / "store.db", isolation_level=None)) as connection:
        connection.execute("UPDATE vector SET seq = 1 WHERE pk = 110")
        connection.execute("PRAGMA writable_schema = ON")
        connection.executemany("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", rows)


def lose_a_page_of_an_index(folder: Path) -> None:
    """SQLite tells of the page, and not that it is an index's; it would also count the documents by it."""
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = 'document'"
        ).fetchone()
    with (folder / "store.db").open("r+b") as file:
        file.seek(page * size - 900)
        file.write(bytes(800))


def lose_the_way_to_a_term(folder: Path) -> None:
    """The page says where its terms begin; one of these offsets is one less."""
    with closing(sqlite3.connect(folder / "store.db", isolation_level=None)) as connection:
        number, page = connection.execute(
            "SELECT id, block FROM lexical_data WHERE id > 10 LIMIT 1"
        ).fetchone()
        place = int.from_bytes(page[2:4], "big") + 4
        page = page[:place] + bytes([page[place] - 1]) + page[place + 1 :]
        connection.execute("UPDATE lexical_data SET block = ? WHERE id = ?", (page, number))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "metadata lost": (
        lambda folder: change(folder, "DELETE FROM field WHERE pk % 3 = 0"),
        "the metadata index",
    ),
    "metadata of nobody": (
        lambda folder: change(folder, "UPDATE field SET value = 't1' WHERE value = 't2' AND pk = 3"),
        "the metadata index",
    ),
    "terms lost": (
        lambda folder: change(folder, "INSERT INTO lexical (lexical) VALUES ('delete-all')"),
        "the lexical index",
    ),
    "terms of nobody": (
        lambda folder: change(folder, "UPDATE lexical_docsize SET id = 999 WHERE id = 5"),
        "the lexical index",
    ),
    "terms overwritten": (
        lambda folder: change(
            folder, "UPDATE lexical_data SET block = zeroblob(length(block)) WHERE id > 10"
        ),
        "the lexical index",
    ),
    "format of the terms lost": (
        lambda folder: change(folder, "DELETE FROM lexical_config"),
        "the lexical index",
    ),
    "list of the terms' parts lost": (
        lambda folder: change(folder, "DELETE FROM lexical_data WHERE id = 10"),
        "the lexical index",
    ),
    "lengths of the documents lost": (
        lambda folder: change(folder, "DROP TABLE lexical_docsize"),
        "the lexical index",
    ),
    "the way to a term lost": (lose_the_way_to_a_term, "the lexical index"),
    "terms in other columns": (
        lambda folder: change(folder, "ALTER TABLE lexical_idx RENAME COLUMN pgno TO pggo"),
        "the lexical index",
    ),
    "snapshot cut": (
        lambda folder: damage_snapshot(folder, lambda content: content.__delitem__(slice(500, None))),
        "the snapshot",
    ),
    "snapshot flipped": (
        lambda folder: damage_snapshot(folder, lambda content: content.__setitem__(70, content[70] ^ 1)),
        "the snapshot",
    ),
    "snapshot lost": (lambda folder: next(folder.glob("*.snapshot")).unlink(), "the snapshot"),
    "snapshot of another": (
        lambda folder: change(folder, "UPDATE snapshot SET digest = 'x' || substr(digest, 2)"),
        "the snapshot",
    ),
    "index behind": (leave_an_index_behind, "SQLite's own indexes"),
    "page of an index lost": (lose_a_page_of_an_index, "SQLite's own indexes"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_derived_is_made_anew(folder: Path, before: list[Any], damage: str) -> None:
    harm, part = DAMAGES[damage]
    harm(folder)
    with opened(folder) as store:
        assert not store.verify(deep=True).ok
        result = store.repair()
        assert (result.ok, result.repaired, result.problems) == (True, (part,), ())
        assert store.verify(deep=True).ok
        assert answers(store) == before
        assert store.repair().repaired == ()
    with opened(folder, read_only=True) as store:
        assert store.verify(deep=True).ok
        assert answers(store) == before
        assert store.index_info.snapshot is not None


@pytest.mark.parametrize("damage", ["format of the terms lost", "terms in other columns"])
def test_a_search_names_the_remedy(folder: Path, damage: str) -> None:
    DAMAGES[damage][0](folder)
    with opened(folder) as store, pytest.raises(FormatError, match=r"is damaged .*repair\(\) makes"):
        store.lexical_search("word3", k=3)


def test_several_at_once(folder: Path, before: list[Any]) -> None:
    for name in ("metadata lost", "terms overwritten", "snapshot flipped", "index behind"):
        DAMAGES[name][0](folder)
    with opened(folder) as store:
        result = store.repair()
        assert result.ok
        assert set(result.repaired) == {part for _, part in DAMAGES.values()}
        assert answers(store) == before


def rows_of(folder: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        # A store that is closed may write a snapshot by itself.
        kept = [name for name in names if name not in ("lexical", "snapshot")]
        return {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in kept}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE document SET text = 'another' WHERE pk = 3",
        "UPDATE vector SET value = zeroblob(length(value)) WHERE pk = 3",
        "DELETE FROM vector WHERE pk = 3",
    ],
)
def test_what_nothing_else_holds_is_left_alone(folder: Path, statement: str) -> None:
    change(folder, statement)
    DAMAGES["metadata lost"][0](folder)
    was = rows_of(folder)
    # Of the vectors, the snapshot is read; only so can it be opened at all.
    with opened(folder, check_model=False) as store:
        result = store.repair()
        assert (result.ok, result.repaired) == (False, ())
        assert len(result.problems) >= 2
        assert REMEDY in result.problems[-1]
    assert rows_of(folder) == was


def test_the_sign_of_a_number_in_a_probe(folder: Path) -> None:
    """The length of the vector stays one, and without the model nothing else tells."""
    with closing(sqlite3.connect(folder / "store.db", isolation_level=None)) as connection:
        (value,) = connection.execute(
            "SELECT vector FROM probe WHERE sentence LIKE 'The %' LIMIT 1"
        ).fetchone()
        flipped = value[:3] + bytes([value[3] ^ 0x80]) + value[4:]
        connection.execute("UPDATE probe SET vector = ? WHERE vector = ?", (flipped, value))
    with pytest.raises(FormatError, match=r"probe sentences.*reembed\(\)"):
        opened(folder)
    with opened(folder, check_model=False) as store:
        (problem,) = store.verify().problems
        assert problem.startswith("The probe sentences")
        assert store.repair().problems[0] == problem
        store.reembed(FastEmbeddings())
        assert store.verify(deep=True).ok


@pytest.mark.parametrize(
    ("name", "was", "becomes"),
    [
        ("vector", "INTEGER PRIMARY", "INTEGEZ PRIMARY"),
        ("vector_seq", "(seq)", "(crc)"),
        ("state", "CHECK (one = 1)", "CHECK (one = 3)"),
        ("field", "kind, value, pk))", "value, kind, pk))"),
        ("snapshot", "digest TEXT", "digest BLOB"),
        ("lexical", "porter", "ascii"),
    ],
)
def test_tables_of_another_form_are_refused(folder: Path, name: str, was: str, becomes: str) -> None:
    """SQLite itself opens them, and some give other rows then."""
    change(
        folder,
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_master SET sql = replace(sql, '{was}', '{becomes}') WHERE name = '{name}'",
    )
    for read_only in (True, False):
        with pytest.raises(FormatError, match=f"another (table|index) '{name}' .* Restore a copy"):
            opened(folder, read_only=read_only)


def test_a_store_in_memory(before: list[Any]) -> None:
    with FaissStore.from_texts(TEXTS, FastEmbeddings(), METADATA, ids=IDS) as store:
        with store._engine.connections.writing() as connection:
            connection.execute("DELETE FROM field")
        assert store.repair().repaired == ("the metadata index",)
        assert answers(store)[1:4] == before[1:4]
        store._engine.views.current = store._engine.views.current.changed(
            store._engine.views.current.seq,
            np.array([5]),
            np.empty(0, np.int64),
            np.empty((0, 16), np.float32),
        )
        assert len(store) == COUNT - 1
        assert store.repair().repaired == ("the FAISS view",)
        assert answers(store)[1:4] == before[1:4]
        assert len(store) == COUNT


def test_it_writes(folder: Path) -> None:
    with opened(folder, read_only=True) as store, pytest.raises(ReadOnlyError):
        store.repair()


def test_an_empty_store(tmp_path: Path) -> None:
    with opened(tmp_path / "empty") as store:
        assert store.repair().ok

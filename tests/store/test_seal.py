"""Damage that leaves an index well-formed, which nothing but the seal can see when a store is opened."""

import hashlib
import json
import logging
import sqlite3
from pathlib import Path

import pytest

from langchain_rerank_retriever.errors import FormatError
from langchain_rerank_retriever.store import FaissStore, schema, seal, sealing

from .helpers import FastEmbeddings

IDS = [f"id-{place}" for place in range(60)]


def make(folder: Path) -> None:
    with opened(folder) as store:
        store.add_texts(
            [f"word{place % 7} text" for place in range(60)],
            [{"group": place % 4} for place in range(60)],
            ids=IDS,
        )


def opened(folder: Path, **settings) -> FaissStore:
    return FaissStore(FastEmbeddings(8), path=folder, **settings)


def damage_filter(folder: Path) -> None:
    """What `group = 3` finds is another number; SQLite sees nothing wrong with that."""
    change(folder, "UPDATE field SET value = 5 WHERE key = 'group' AND value = 3")


def damage_lexical(folder: Path) -> None:
    change(folder, "UPDATE lexical_docsize SET sz = x'7f' WHERE id = 5")


def change(folder: Path, statement: str) -> None:
    """As if the bytes had changed by themselves: the seal stays."""
    connection = sqlite3.connect(folder / schema.FILE_NAME)
    with connection:
        assert connection.execute(statement).rowcount
    connection.close()


def in_group(store: FaissStore) -> set[str]:
    return {str(one.id) for one in store.similarity_search("x", 60, {"group": 3})}


RIGHT = {name for place, name in enumerate(IDS) if place % 4 == 3}


def test_a_closed_store_has_the_sha256_of_its_database(tmp_path: Path) -> None:
    make(tmp_path / "s")
    content = bytearray((tmp_path / "s" / schema.FILE_NAME).read_bytes())
    for start, end in ((18, 20), (24, 28), (92, 100)):
        content[start:end] = bytes(end - start)
    found = json.loads((tmp_path / "s" / seal.NAME).read_text())
    assert (found["size"], found["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("at_once", [True, False])
def test_a_damaged_index_is_made_anew(tmp_path: Path, monkeypatch, caplog, at_once: bool) -> None:
    make(tmp_path / "s")
    damage_filter(tmp_path / "s")
    if not at_once:
        monkeypatch.setattr(sealing, "AT_ONCE_BYTES", 0)
    with caplog.at_level(logging.WARNING), opened(tmp_path / "s") as store:
        store.wait_until_ready(60)
        assert in_group(store) == RIGHT
        assert store.verify(deep=True).ok
    assert "damaged since it was closed" in caplog.text
    assert "Made anew: the metadata index" in caplog.text
    caplog.clear()
    with opened(tmp_path / "s") as store:
        assert in_group(store) == RIGHT
    assert not caplog.text


def test_without_a_seal_it_would_be_wrong(tmp_path: Path) -> None:
    make(tmp_path / "s")
    damage_filter(tmp_path / "s")
    (tmp_path / "s" / seal.NAME).unlink()
    with opened(tmp_path / "s") as store:
        assert in_group(store) == set()


def test_a_change_waits_for_the_check(tmp_path: Path, monkeypatch) -> None:
    """Else its breaking of the seal would hide the damage."""
    make(tmp_path / "s")
    damage_filter(tmp_path / "s")
    monkeypatch.setattr(sealing, "AT_ONCE_BYTES", 0)
    with opened(tmp_path / "s") as store:
        store.add_texts(["new"], [{"group": 3}], ids=["new"])
        assert in_group(store) == {*RIGHT, "new"}


@pytest.mark.parametrize("damage", [damage_filter, damage_lexical])
def test_read_only_nothing_is_answered_from_a_damaged_index(tmp_path: Path, damage) -> None:
    make(tmp_path / "s")
    damage(tmp_path / "s")
    before = (tmp_path / "s" / schema.FILE_NAME).read_bytes()
    with opened(tmp_path / "s", read_only=True) as store:
        for ask in (
            lambda: store.similarity_search("x", 3, {"group": 3}),
            lambda: store.lexical_search("word3"),
            lambda: store.lexical_scores("word3", IDS),
        ):
            with pytest.raises(FormatError, match=r"damaged since it was closed: .*repair\(\) makes it anew"):
                ask()
        # What has checksums of its own goes on.
        assert len(store.similarity_search("x", 60)) == 60
        assert len(store.get_by_ids(IDS)) == len(store.vectors_by_ids(IDS)) == 60
        assert len(list(store.documents())) == 60
        assert not store.verify(deep=True).ok
    assert (tmp_path / "s" / schema.FILE_NAME).read_bytes() == before


def test_a_damaged_document_is_told_and_kept(tmp_path: Path) -> None:
    make(tmp_path / "s")
    change(tmp_path / "s", "UPDATE document SET text = 'another' WHERE id = 'id-7'")
    with opened(tmp_path / "s") as store:
        assert [one.id for one in store.get_by_ids(["id-8"])] == ["id-8"]
        store.add_texts(["new"], ids=["newer"])
        with pytest.raises(FormatError, match="restore a copy"):
            store.lexical_search("word3")
        store.clear()
        store.add_texts(["new"], ids=["new"])
        assert [one.id for one in store.get_by_ids(["new"])] == ["new"]


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"size": 1, "sha256": "", "drawn": ""}', "x" * 5000]
)
def test_a_damaged_seal_costs_a_check(tmp_path: Path, caplog, content: str) -> None:
    make(tmp_path / "s")
    (tmp_path / "s" / seal.NAME).write_text(content)
    with opened(tmp_path / "s", read_only=True) as store:
        assert in_group(store) == RIGHT
    assert "its content is whole" in caplog.text
    caplog.clear()
    opened(tmp_path / "s").close()
    assert "its content is whole" in caplog.text
    caplog.clear()
    opened(tmp_path / "s").close()
    assert not caplog.text


def test_copies_are_sealed_and_stay_so_when_they_are_opened(tmp_path: Path, caplog) -> None:
    make(tmp_path / "s")
    for _ in range(2):  # the second replaces the first
        with opened(tmp_path / "s") as store:
            store.save_local(tmp_path / "copy")
        assert seal.agrees(tmp_path / "copy" / schema.FILE_NAME) is True
        with opened(tmp_path / "copy") as store:
            assert len(store) == 60
        assert seal.agrees(tmp_path / "copy" / schema.FILE_NAME) is True
    assert not caplog.text


def test_a_store_that_another_has_open_is_sealed_by_the_last(tmp_path: Path) -> None:
    file = tmp_path / "s" / schema.FILE_NAME
    make(tmp_path / "s")
    first, second = opened(tmp_path / "s"), opened(tmp_path / "s")
    first.add_texts(["new"])
    assert not seal.is_set(file)
    first.close()
    assert seal.agrees(file) is True
    second.add_texts(["more"])
    assert not seal.is_set(file)
    second.close()
    assert seal.agrees(file) is True

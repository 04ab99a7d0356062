"""Snapshots of the view: used when everything about them is right, otherwise never a wrong answer."""

import logging
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever.errors import StorageError
from langchain_rerank_retriever.store import (
    FaissStore,
    rows,
    snapshots,
    upkeep,
    view_file,
    view_writing,
    views,
)
from langchain_rerank_retriever.store.segment import Segment
from langchain_rerank_retriever.store.view import View
from langchain_rerank_retriever.store.view_file import ViewFile

from .helpers import FastEmbeddings, content, ranking, stored_vectors

COUNT = 300
QUERY = np.random.default_rng(1).standard_normal(16)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every change is worth a snapshot, and none waits."""
    monkeypatch.setattr(snapshots, "MIN_ROWS", 1)
    monkeypatch.setattr(upkeep, "QUIET", 0.01)


@pytest.fixture
def rebuilt(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Counts how often a view is read from the database."""
    calls: list[int] = []
    real = views._rebuilt

    def counted(*arguments: Any) -> View:
        calls.append(1)
        return real(*arguments)

    monkeypatch.setattr(views, "_rebuilt", counted)
    return calls


def make(folder: Path, count: int = COUNT) -> dict[str, np.ndarray]:
    """A closed store with a snapshot, some of whose documents were deleted and replaced before."""
    vectors = dict(
        zip(map(str, range(count)), np.random.default_rng(5).standard_normal((count, 16)), strict=True)
    )
    with FaissStore(FastEmbeddings(), path=folder) as store:
        store.add_embeddings(list(vectors), np.array(list(vectors.values())), ids=list(vectors))
        store.delete(["3", "4"])
        del vectors["3"], vectors["4"]
        vectors["7"] = np.random.default_rng(6).standard_normal(16)
        store.add_embeddings(["7"], vectors["7"][None], ids=["7"])
    return vectors


def snapshot_file(folder: Path) -> Path:
    (file,) = folder.glob("*.snapshot")
    return file


def check(store: FaissStore, vectors: dict[str, np.ndarray]) -> None:
    expected = ranking(vectors, QUERY)[:20]
    found = store.similarity_search_with_score_by_vector(QUERY, k=20)
    assert [document.id for document, _ in found] == [name for name, _ in expected]
    assert np.allclose([score for _, score in found], [score for _, score in expected], atol=1e-6)
    assert len(store) == len(vectors)


@pytest.mark.parametrize("mapped", [True, False])
def test_opening_reads_the_snapshot_and_not_the_database(
    tmp_path: Path, rebuilt: list[int], mapped: bool
) -> None:
    vectors = make(tmp_path / "s")
    rebuilt.clear()
    with FaissStore(FastEmbeddings(), path=tmp_path / "s", memory_map=mapped) as store:
        check(store, vectors)
        assert store.verify(deep=True).ok
        (segment, *_) = store._engine.views.current.segments
        assert segment.vectors.flags.writeable is not mapped
    assert rebuilt == []


@pytest.mark.parametrize("mapped", [True, False])
def test_changes_after_the_snapshot_are_followed(
    tmp_path: Path, rebuilt: list[int], monkeypatch: pytest.MonkeyPatch, mapped: bool
) -> None:
    vectors = make(tmp_path / "s")
    monkeypatch.setattr(snapshots, "MIN_ROWS", 10_000)
    file = snapshot_file(tmp_path / "s")
    rebuilt.clear()
    with FaissStore(FastEmbeddings(), path=tmp_path / "s", memory_map=mapped) as store:
        store.delete(["9"])
        del vectors["9"]
        for name in ("new", "12"):
            vectors[name] = FastEmbeddings().vector(name)
            store.add_texts([name], ids=[name])
        check(store, vectors)
    assert snapshot_file(tmp_path / "s") == file
    with FaissStore(FastEmbeddings(), path=tmp_path / "s", memory_map=mapped) as store:
        check(store, vectors)
        assert store.verify(deep=True).ok
    assert rebuilt == []


def test_a_small_store_has_no_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MIN_ROWS", COUNT + 10)
    make(tmp_path / "s")
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["store.db"]


def test_a_new_snapshot_replaces_the_old(tmp_path: Path) -> None:
    make(tmp_path / "s")
    first = snapshot_file(tmp_path / "s")
    (tmp_path / "s" / "view-0123456789abcdef.snapshot.tmp").write_bytes(b"left by a writer that was killed")
    (tmp_path / "s" / "notes.txt").write_text("not ours")
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        store.add_texts([f"more {i}" for i in range(100)])
    assert snapshot_file(tmp_path / "s") != first
    assert sorted(path.suffix for path in (tmp_path / "s").iterdir()) == [
        ".db",
        ".lock",
        ".snapshot",
        ".txt",
    ]


def test_written_in_the_background_once_the_store_is_quiet(tmp_path: Path) -> None:
    store = FaissStore(FastEmbeddings(), path=tmp_path / "s")
    store.add_texts([f"t{i}" for i in range(50)])
    assert store._engine.views.upkeep.wait(20)
    assert snapshot_file(tmp_path / "s").stat().st_size > 50 * 16 * 4
    # As if the process had died here: nothing is closed.
    with FaissStore(FastEmbeddings(), path=tmp_path / "s", read_only=True) as reader:
        assert reader.similarity_search("t7", k=1)[0].page_content == "t7"


def test_what_another_handle_has_changed_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "QUIET", 60.0)
    monkeypatch.setattr(snapshots, "MIN_ROWS", 10)
    with (
        FaissStore(FastEmbeddings(), path=tmp_path / "s") as writer,
        FaissStore(FastEmbeddings(), path=tmp_path / "s") as other,
    ):
        writer.add_texts(["t0"])
        assert len(other) == 1
        writer.clear()
        writer.add_texts([f"t{i}" for i in range(50)])
        info = other.wait_until_ready(20)
        assert (info.rows, info.changes, info.busy) == (50, 0, False)
        assert info.snapshot == snapshot_file(tmp_path / "s").name


def test_a_read_only_store_writes_nothing(tmp_path: Path) -> None:
    vectors = make(tmp_path / "s")
    snapshot_file(tmp_path / "s").unlink()
    with FaissStore(FastEmbeddings(), path=tmp_path / "s", read_only=True) as store:
        check(store, vectors)
        assert store._engine.views.upkeep.wait(20)
    assert list((tmp_path / "s").glob("*.snapshot")) == []


def test_a_mapped_store_maps_what_it_has_written(tmp_path: Path) -> None:
    with FaissStore(FastEmbeddings(), path=tmp_path / "s", memory_map=True) as store:
        store.add_texts([f"t{i}" for i in range(50)])
        assert store._engine.views.upkeep.wait(20)
        (segment,) = store._engine.views.current.segments
        assert not segment.vectors.flags.writeable
        assert store.similarity_search("t7", k=1)[0].page_content == "t7"


def damaged(whole: bytes, trial: int, rng: random.Random) -> bytes:
    data = bytearray(whole)
    if trial % 4 == 0:
        return bytes(data[: rng.randrange(len(data))])
    if trial % 4 == 1:
        start = rng.randrange(len(data))
        data[start : start + 300] = bytes(min(300, len(data) - start))
    elif trial % 4 == 2:
        # Most bytes of a small file lie between its arrays; these do not.
        data[rng.randrange(len(data) - 2000, len(data))] ^= 1 << rng.randrange(8)
    else:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


@pytest.mark.parametrize("mapped", [True, False])
def test_damage_never_leads_to_a_wrong_answer(tmp_path: Path, mapped: bool) -> None:
    vectors = make(tmp_path / "s")
    file = snapshot_file(tmp_path / "s")
    whole, rng = file.read_bytes(), random.Random(3)
    for trial in range(120):
        file.write_bytes(damaged(whole, trial, rng))
        with FaissStore(
            FastEmbeddings(), path=tmp_path / "s", read_only=True, memory_map=mapped, check_model=False
        ) as store:
            # Mapped vectors are checked in the background; the answer is right from then on.
            assert store._engine.views.upkeep.wait(20)
            check(store, vectors)
            assert np.array_equal(
                store._engine.views.current.vectors(np.array([1, 8, COUNT])),
                np.stack([stored_vectors(store)[name] for name in ("0", "7", str(COUNT - 1))]),
            )


def test_every_bit_of_the_arrays_counts(
    tmp_path: Path, rebuilt: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    vectors = make(tmp_path / "s")
    file = snapshot_file(tmp_path / "s")
    whole = file.read_bytes()
    for pattern in (next(iter(stored(tmp_path / "s").values())).tobytes(), (5).to_bytes(8, "little")):
        data = bytearray(whole)
        data[data.index(pattern)] ^= 1
        file.write_bytes(data)
        rebuilt.clear()
        caplog.clear()
        with FaissStore(FastEmbeddings(), path=tmp_path / "s", read_only=True) as store:
            check(store, vectors)
            result = store.verify(deep=True)
        assert rebuilt == [1]
        assert "is damaged" in caplog.text
        assert "the vectors are read from the database instead" in caplog.text
        assert "may be deleted" in " ".join(result.problems)


def test_a_check_ends_where_another_thread_closes_the_file(tmp_path: Path) -> None:
    """Its descriptor is nobody else's before the check has let go of it."""
    make(tmp_path / "s")
    with (
        FaissStore(FastEmbeddings(), path=tmp_path / "s", read_only=True) as store,
        store._engine.connections.reading() as connection,
    ):
        record = rows.read_record(connection)
    assert record is not None
    file = ViewFile(tmp_path / "s", record)
    asked: list[int] = []
    with ExitStack() as others:

        def go_on() -> bool:
            asked.append(len(asked))
            if len(asked) == 2:
                file.close()
                for _ in range(5):
                    others.enter_context(Path(__file__).open("rb"))
            return True

        assert file.check(go_on) is False
    assert len(asked) == 2


def stored(folder: Path) -> dict[str, np.ndarray]:
    with FaissStore(FastEmbeddings(), path=folder, read_only=True) as store:
        return stored_vectors(store)


def test_a_mapped_snapshot_is_checked_in_the_background(
    tmp_path: Path, rebuilt: list[int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = make(tmp_path / "s")
    file = snapshot_file(tmp_path / "s")
    data = bytearray(file.read_bytes())
    pattern = stored(tmp_path / "s")["0"].tobytes()
    data[data.index(pattern) : data.index(pattern) + 64] = stored(tmp_path / "s")["1"].tobytes()
    file.write_bytes(data)
    rebuilt.clear()
    monkeypatch.setattr(upkeep, "QUIET", 0.5)
    with FaissStore(FastEmbeddings(), path=tmp_path / "s", memory_map=True) as store:
        assert rebuilt == []
        assert store._engine.views.upkeep.wait(20)
        assert rebuilt == [1]
        check(store, vectors)
    assert "vectors is damaged" in caplog.text
    # The store was writable, so there is a whole one again.
    rebuilt.clear()
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        check(store, vectors)
    assert rebuilt == []


def change_record(folder: Path, **columns: Any) -> None:
    with sqlite3.connect(folder / "store.db") as connection:
        for name, value in columns.items():
            connection.execute(f"UPDATE snapshot SET {name} = ?", (value,))
    connection.close()


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"seq": 99}, "newer than the database"),
        ({"seq": 0}, "belongs to another state"),
        ({"digest": "0" * 64}, "not the one that the database names"),
        ({"file": "../s/other.snapshot"}, "is no name of a snapshot"),
        ({"file": "view-0123456789abcdef.snapshot"}, "cannot be opened"),
        ({"generation": 1}, None),
        ({"space": 7}, None),
    ],
)
def test_another_state_of_the_database(
    tmp_path: Path,
    rebuilt: list[int],
    caplog: pytest.LogCaptureFixture,
    columns: dict[str, Any],
    reason: str | None,
) -> None:
    vectors = make(tmp_path / "s")
    change_record(tmp_path / "s", **columns)
    rebuilt.clear()
    with FaissStore(FastEmbeddings(), path=tmp_path / "s", read_only=True) as store:
        check(store, vectors)
    assert rebuilt == [1]
    assert reason is None or reason in caplog.text


def test_a_link_is_not_followed(tmp_path: Path, rebuilt: list[int], caplog: pytest.LogCaptureFixture) -> None:
    vectors = make(tmp_path / "s")
    file = snapshot_file(tmp_path / "s")
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    rebuilt.clear()
    with FaissStore(FastEmbeddings(), path=tmp_path / "s", read_only=True) as store:
        check(store, vectors)
    assert rebuilt == [1]
    assert "cannot be opened" in caplog.text


def test_a_restored_database_does_not_take_the_snapshot_of_another_history(
    tmp_path: Path, rebuilt: list[int]
) -> None:
    vectors = make(tmp_path / "s")
    backup = tmp_path / "backup.db"
    shutil.copy(tmp_path / "s" / "store.db", backup)
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        store.add_texts([f"lost {i}" for i in range(50)], ids=[f"lost {i}" for i in range(50)])
    shutil.copy(backup, tmp_path / "s" / "store.db")
    rebuilt.clear()
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        check(store, vectors)
        # As many changes as those that were lost, but other ones.
        vectors["kept"] = FastEmbeddings().vector("kept")
        store.add_texts(["kept"], ids=["kept"])
        check(store, vectors)
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        check(store, vectors)
        assert store.verify(deep=True).ok
    assert rebuilt == [1]


def test_a_snapshot_that_disagrees_with_the_count_is_not_used(
    tmp_path: Path, rebuilt: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path / "s")
    # A tool that deletes rows without a trace.
    with sqlite3.connect(tmp_path / "s" / "store.db") as connection:
        connection.execute("DELETE FROM vector WHERE pk = 1")
        connection.execute("DELETE FROM document WHERE pk = 1")
    connection.close()
    rebuilt.clear()
    with FaissStore(FastEmbeddings(), path=tmp_path / "s", read_only=True) as store:
        assert len(store) == COUNT - 3
    assert rebuilt == [1]
    assert "documents" in caplog.text


@pytest.mark.parametrize("again", [False, True])
def test_a_saved_copy_has_a_snapshot_of_its_own(tmp_path: Path, rebuilt: list[int], again: bool) -> None:
    vectors = make(tmp_path / "s")
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        store.save_local(tmp_path / "copy")
        if again:
            store.delete(["20"])
            del vectors["20"]
            store.save_local(tmp_path / "copy")
    rebuilt.clear()
    with FaissStore.load_local(tmp_path / "copy", FastEmbeddings(), read_only=True) as copy:
        check(copy, vectors)
        assert copy.verify(deep=True).ok
    assert rebuilt == []
    assert snapshot_file(tmp_path / "copy").name != snapshot_file(tmp_path / "s").name


def test_clearing_and_moving_to_another_model_leave_the_snapshot_behind(tmp_path: Path) -> None:
    make(tmp_path / "s")
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        store.reembed(FastEmbeddings(8, seed=1))
    other = FastEmbeddings(8, seed=1)
    with FaissStore(other, path=tmp_path / "s") as store:
        assert store.similarity_search("17", k=1)[0].id == "17"
        assert store.verify(deep=True).ok
        store.clear()
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        assert len(store) == 0
        store.add_texts(["a"])
        assert store.verify(deep=True).ok


def test_no_space_for_a_snapshot_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(stream: Any, *_: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(view_writing, "_write", full)
    vectors = make(tmp_path / "s")
    assert "No space left" in caplog.text
    assert list((tmp_path / "s").glob("view-*")) == []
    with FaissStore(FastEmbeddings(), path=tmp_path / "s", read_only=True) as store:
        check(store, vectors)
        with pytest.raises(StorageError, match="No space left"):
            store.save_local(tmp_path / "copy")


def test_the_file_keeps_every_array_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first = rng.standard_normal((5000, 300)).astype(np.float32)
    alive = rng.random(5000) < 0.5
    view = View(
        seq=3,
        generation=9,
        dimension=300,
        segments=(
            Segment(np.arange(0, 10_000, 2), first, alive),
            Segment(np.array([1, 3]), first[:2].copy()),
        ),
    )
    record = view_writing.write(tmp_path, view, space=4)
    state: Any = type("State", (), {"dimension": 300})
    for mapped in (True, False):
        with view_file.ViewFile(tmp_path, record) as file:
            assert file.check(lambda: True)
            found = file.view(state, mapped=mapped)
        assert (found.seq, found.generation, found.dimension, len(found)) == (3, 9, 300, len(view))
        for ours, theirs in zip(found.segments, view.segments, strict=True):
            assert np.array_equal(ours.pks, theirs.pks)
            assert np.array_equal(ours.vectors, theirs.vectors)
            assert (ours.alive is None) == (theirs.alive is None)
            assert theirs.alive is None or np.array_equal(ours.alive, theirs.alive)


def test_answers_are_the_same_to_the_last_bit(tmp_path: Path) -> None:
    make(tmp_path / "s")
    answers = []
    for mapped in (True, False):
        with FaissStore(FastEmbeddings(), path=tmp_path / "s", memory_map=mapped) as store:
            answers.append(store.similarity_search_with_score_by_vector(QUERY, k=30))
            contents = content(store)
    snapshot_file(tmp_path / "s").unlink()
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        answers.append(store.similarity_search_with_score_by_vector(QUERY, k=30))
        assert content(store) == contents
    assert answers[0] == answers[1] == answers[2]


@pytest.fixture(autouse=True)
def warnings_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def test_a_snapshot_that_is_replaced_while_it_is_opened(
    tmp_path: Path, rebuilt: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader begins; then a writer replaces the snapshot that the reader's transaction names."""
    vectors = make(tmp_path / "s")
    real = snapshots.ViewFile
    raced: list[str] = []

    def late(folder: Path, record: Any) -> Any:
        if not raced:
            raced.append(record.file)
            names = [f"{record.file} {i}" for i in range(50)]
            with FaissStore(FastEmbeddings(), path=tmp_path / "s") as writer:
                writer.add_texts(names, ids=names)
            vectors.update({name: FastEmbeddings().vector(name) for name in names})
            assert snapshot_file(tmp_path / "s").name != record.file
        return real(folder, record)

    monkeypatch.setattr(snapshots, "ViewFile", late)
    rebuilt.clear()
    with FaissStore(FastEmbeddings(), path=tmp_path / "s", read_only=True) as store:
        check(store, vectors)
        raced.clear()
        assert store.verify(deep=True).ok
        assert raced
        check(store, vectors)
    assert rebuilt == []
    assert caplog.text == ""

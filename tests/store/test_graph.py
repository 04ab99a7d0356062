"""HNSW: built in the background, checked against exact search, right under changes, kept in the snapshot."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.store import FaissStore, graph, indexing, snapshots, upkeep, views
from langchain_rerank_retriever.store.graph import Graph
from langchain_rerank_retriever.store.segment import Segment

from .helpers import FastEmbeddings

DIMENSION, COUNT = 16, 2000
rng = np.random.default_rng(2)
CENTRES = rng.standard_normal((30, DIMENSION))
VECTORS = (CENTRES[rng.integers(0, 30, COUNT)] + 0.5 * rng.standard_normal((COUNT, DIMENSION))).astype(
    np.float32
)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
QUERIES = (CENTRES + 0.3 * rng.standard_normal((30, DIMENSION))).astype(np.float32)
IDS = [str(i) for i in range(COUNT)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "GRAPH_ROWS", 500)
    monkeypatch.setattr(snapshots, "MIN_ROWS", 500)
    monkeypatch.setattr(upkeep, "QUIET", 0.01)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all graphs that are built."""
    sizes: list[int] = []
    real = graph.build

    def counted(vectors: np.ndarray, go_on: Callable[[], bool], **settings: Any) -> Graph | None:
        sizes.append(len(vectors))
        return real(vectors, go_on, **settings)

    monkeypatch.setattr(views, "build", counted)
    return sizes


def filled(path: Path | None = None, **settings: Any) -> FaissStore:
    store = FaissStore(FastEmbeddings(DIMENSION), path=path, **{"index": "hnsw", **settings})
    store.add_embeddings(IDS, VECTORS, [{"n": i} for i in range(COUNT)], ids=IDS)
    return store


def recall(store: FaissStore, vectors: dict[str, np.ndarray], k: int = 50, **search: Any) -> float:
    """Against brute force; also that every score is the cosine, and that the order is that of the scores."""
    names, table = list(vectors), np.stack(list(vectors.values())).astype(np.float64)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    shares = []
    for query in QUERIES:
        cosines = table @ query / np.linalg.norm(query)
        expected = {names[row] for row in np.argsort(-cosines)[:k]}
        known = dict(zip(names, cosines, strict=True))
        found = {document.id: score for document, score in store.dense_search(query, k, **search)}
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert len(found) == len(expected)
        assert np.allclose(list(found.values()), [known[name] for name in found], atol=1e-6)
        shares.append(len(found.keys() & expected) / len(expected))
    return float(np.mean(shares))


def by_id(ids: list[str] = IDS) -> dict[str, np.ndarray]:
    return {name: VECTORS[int(name)] for name in ids}


def arrays(index: Any) -> dict[str, Any]:
    links = index.hnsw.neighbors
    return {
        "levels": faiss.vector_to_array(index.hnsw.levels).astype(np.int32),
        "neighbors": faiss.rev_swig_ptr(links.data(), links.size()).copy(),
        "entry": int(index.hnsw.entry_point),
    }


@pytest.fixture(scope="module")
def raw() -> Any:
    """An index of FAISS's own."""
    index = faiss.IndexHNSWFlat(DIMENSION, graph.LINKS, faiss.METRIC_INNER_PRODUCT)
    index.add(VECTORS)
    return index


def test_a_graph_from_arrays_answers_as_faiss_itself(raw: Any) -> None:
    vectors = VECTORS.copy()
    vectors.flags.writeable = False
    ours = graph.assembled(vectors, **arrays(raw), links=graph.LINKS, ef=80, recall=1.0)
    mask = rng.random(COUNT) < 0.5
    selector = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
    for query in QUERIES:
        scores, rows = raw.search(query[None], 40, params=faiss.SearchParametersHNSW(efSearch=80))
        found = ours.search(query, 40, None, 1.0)
        assert np.array_equal(found[0], rows[0])
        assert np.array_equal(found[1], scores[0])
        parameters = faiss.SearchParametersHNSW(efSearch=320, sel=selector)
        assert np.array_equal(
            ours.search(query, 40, mask, 0.5)[0], raw.search(query[None], 40, params=parameters)[1][0]
        )


def crafted(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def apply(parts: dict[str, Any]) -> dict[str, Any]:
        change(parts)
        return parts

    return apply


def high_row(parts: dict[str, Any]) -> int:
    """Where the links of the entry's first higher level begin."""
    widths = np.array([0, 64] + [64 + 32 * level for level in range(1, 10)])
    before = widths[parts["levels"][: parts["entry"]]].sum()
    return int(before) + 64


@pytest.mark.parametrize(
    "change",
    [
        crafted(lambda parts: parts["neighbors"].__setitem__(5, COUNT)),
        crafted(lambda parts: parts["neighbors"].__setitem__(5, -2)),
        crafted(lambda parts: parts.update(neighbors=parts["neighbors"][:-1])),
        crafted(lambda parts: parts.update(levels=parts["levels"][:-1])),
        crafted(lambda parts: parts["levels"].__setitem__(3, 0)),
        crafted(lambda parts: parts["levels"].__setitem__(3, 100)),
        crafted(lambda parts: parts.update(entry=COUNT)),
        crafted(lambda parts: parts.update(entry=-1)),
        crafted(lambda parts: parts.update(entry=int(parts["levels"].argmin()))),
        crafted(lambda parts: parts["neighbors"].__setitem__(high_row(parts), int(parts["levels"].argmin()))),
    ],
)
def test_a_graph_that_leads_outside_is_refused(
    raw: Any, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    graph.assembled(VECTORS, **arrays(raw), links=graph.LINKS, ef=80, recall=1.0)
    with pytest.raises(ValueError, match=r"levels|neighbors"):
        graph.assembled(VECTORS, **change(arrays(raw)), links=graph.LINKS, ef=80, recall=1.0)


def test_exact_until_the_graph_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    go, real = threading.Event(), graph.build

    def held(*arguments: Any, **settings: Any) -> Graph | None:
        go.wait(20)
        return real(*arguments, **settings)

    monkeypatch.setattr(views, "build", held)
    with filled() as store:
        info = store.index_info
        assert (info.kind, info.busy, info.ef, info.recall) == ("flat", True, None, None)
        assert recall(store, by_id()) == 1.0
        go.set()
        info = store.wait_until_ready(60)
        assert (info.setting, info.kind, info.rows, info.graph_rows) == ("hnsw", "hnsw", COUNT, COUNT)
        assert not info.busy
        assert info.ef is not None
        assert info.recall is not None
        assert info.recall >= graph.FLOOR
        assert recall(store, by_id()) >= 0.95
        assert store.verify(deep=True).ok


def test_scores_are_those_of_an_exact_search_to_the_last_bit(tmp_path: Path) -> None:
    with filled(index="flat") as flat, filled(tmp_path / "s") as store:
        assert store.wait_until_ready(60).kind == "hnsw"
        for query in QUERIES:
            exact = {document.id: score for document, score in flat.dense_search(query, 100)}
            found = {document.id: score for document, score in store.dense_search(query, 50)}
            assert found.items() <= exact.items()
            assert store.dense_scores(query, list(found)) == found


def test_the_width_is_raised_until_the_recall_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "_WIDTHS", (1, 2, 100, 200))
    built = graph.build(VECTORS, lambda: True)
    assert built is not None
    assert built.ef == 100
    assert built.recall >= graph.AIM


def test_a_graph_that_is_not_good_enough_is_not_used(
    monkeypatch: pytest.MonkeyPatch, builds: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(graph, "FLOOR", 1.1)
    with filled() as store:
        assert store.wait_until_ready(60).kind == "flat"
        assert recall(store, by_id()) == 1.0
        store.add_texts(["one more"])
        assert store.wait_until_ready(60).kind == "flat"
    assert builds == [COUNT]
    assert "No HNSW index" in caplog.text


def test_changes_after_the_build(builds: list[int]) -> None:
    vectors = by_id()
    with filled() as store:
        assert store.wait_until_ready(60).kind == "hnsw"
        gone = IDS[::10]
        store.delete(gone)
        for name in gone:
            del vectors[name]
        new = {f"new {i}": VECTORS[i] + 0.01 for i in range(0, COUNT, 15)}
        store.add_embeddings(list(new), np.array(list(new.values())), ids=list(new))
        moved = {name: VECTORS[int(name) - 1] for name in IDS[1:200:10]}
        store.add_embeddings(list(moved), np.array(list(moved.values())), ids=list(moved))
        vectors |= new | moved
        info = store.wait_until_ready(60)
        assert info.graph_rows < info.rows == len(vectors)
        assert info.segments > 1
        assert recall(store, vectors) >= 0.95
        assert len(store.dense_search(QUERIES[0], 10_000)) == len(vectors)
        assert store.verify(deep=True).ok
    assert builds == [COUNT]


def test_built_anew_when_much_has_changed(builds: list[int]) -> None:
    with filled() as store:
        store.wait_until_ready(60)
        store.delete(IDS[:600])
        info = store.wait_until_ready(60)
        assert (info.rows, info.graph_rows, info.segments) == (1400, 1400, 1)
        assert recall(store, by_id(IDS[600:])) >= 0.95
        store.delete(IDS[600:1600])
        info = store.wait_until_ready(60)
        assert (info.kind, info.rows) == ("flat", 400)
        assert recall(store, by_id(IDS[1600:])) == 1.0
    assert builds == [COUNT, 1400]


@pytest.mark.parametrize(("limit", "exact"), [(20, True), (190, True), (600, False), (1900, False)])
def test_filters(limit: int, exact: bool) -> None:
    with filled() as store:
        assert store.wait_until_ready(60).kind == "hnsw"
        found = recall(store, by_id(IDS[:limit]), filter={"n": {"$lt": limit}})
        assert found == 1.0 if exact else found >= 0.95


def test_deleted_documents_do_not_come_back_through_the_graph() -> None:
    with filled() as store:
        assert store.wait_until_ready(60).kind == "hnsw"
        for query in QUERIES[:5]:
            nearest = [document.id for document, _ in store.dense_search(query, 30)]
            store.delete(nearest)
            again = [document.id for document, _ in store.dense_search(query, 30)]
            assert len(again) == 30
            assert not set(again) & set(nearest)


@pytest.mark.parametrize("mapped", [True, False])
def test_reopening_builds_nothing(tmp_path: Path, builds: list[int], mapped: bool) -> None:
    with filled(tmp_path / "s", memory_map=mapped) as store:
        before = store.wait_until_ready(60)
        assert before.mapped is mapped
        answers = [store.dense_search(query, 20) for query in QUERIES]
        store.save_local(tmp_path / "copy")
    for folder in ("s", "copy"):
        with FaissStore(FastEmbeddings(DIMENSION), path=tmp_path / folder, memory_map=mapped) as store:
            info = store.index_info
            assert (info.kind, info.ef, info.recall) == ("hnsw", before.ef, before.recall)
            assert (info.mapped, info.changes) == (mapped, 0)
            assert info.snapshot is not None
            assert [store.dense_search(query, 20) for query in QUERIES] == answers
            assert store.wait_until_ready(60).busy is False
            assert store.verify(deep=True).ok
    assert builds == [COUNT]


def test_a_damaged_graph_is_not_used(tmp_path: Path, builds: list[int]) -> None:
    filled(tmp_path / "s").close()
    with FaissStore(FastEmbeddings(DIMENSION), path=tmp_path / "s") as store:
        (segment,) = store._engine.views.current.segments if store.wait_until_ready(60) else ()
        pattern = segment.graph.neighbors[:16].tobytes()
    (file,) = (tmp_path / "s").glob("*.snapshot")
    data = bytearray(file.read_bytes())
    data[data.index(pattern) + 4] ^= 1
    file.write_bytes(data)
    for mapped in (True, False):
        with FaissStore(
            FastEmbeddings(DIMENSION), path=tmp_path / "s", memory_map=mapped, read_only=True
        ) as store:
            assert store.wait_until_ready(60).kind == "flat"
            assert recall(store, by_id()) == 1.0
    with FaissStore(FastEmbeddings(DIMENSION), path=tmp_path / "s") as store:
        assert store.wait_until_ready(60).kind == "hnsw"
        assert recall(store, by_id()) >= 0.95


def test_two_stores_on_one_folder_build_one_graph(tmp_path: Path, builds: list[int]) -> None:
    with filled(tmp_path / "s") as one, FaissStore(FastEmbeddings(DIMENSION), path=tmp_path / "s") as two:
        assert one.wait_until_ready(60).kind == "hnsw"
        assert two.wait_until_ready(60).kind == "hnsw"
        one.delete(IDS[:50])
        assert recall(two, by_id(IDS[50:])) >= 0.95
    assert builds == [COUNT]


def test_a_store_without_a_graph_does_not_write_over_one(
    tmp_path: Path, builds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = FaissStore(FastEmbeddings(DIMENSION), path=tmp_path / "s", index="hnsw")
    monkeypatch.setattr(slow._engine.views.upkeep, "consider", lambda: None)
    slow.add_embeddings(IDS, VECTORS, ids=IDS)
    with FaissStore(FastEmbeddings(DIMENSION), path=tmp_path / "s") as quick:
        assert quick.wait_until_ready(60).kind == "hnsw"
    slow.delete(IDS[:20])
    assert slow.index_info.kind == "flat"
    slow.close()
    with FaissStore(FastEmbeddings(DIMENSION), path=tmp_path / "s") as store:
        assert store.index_info.kind == "hnsw"
        assert recall(store, by_id(IDS[20:])) >= 0.95
    assert builds == [COUNT]


def test_a_read_only_store_builds_nothing(tmp_path: Path, builds: list[int]) -> None:
    filled(tmp_path / "s", index="hnsw").close()
    for file in (tmp_path / "s").glob("*.snapshot"):
        file.unlink()
    builds.clear()
    with FaissStore(FastEmbeddings(DIMENSION), path=tmp_path / "s", read_only=True) as store:
        assert store.wait_until_ready(60).kind == "flat"
        assert recall(store, by_id()) == 1.0
    assert builds == []


def test_closing_ends_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, asked = threading.Event(), []
    monkeypatch.setattr(graph, "_BATCH", 1)
    real = graph._linked

    def watched(vectors: np.ndarray, go_on: Callable[[], bool]) -> Any:
        def counted() -> bool:
            asked.append(1)
            begun.set()
            return go_on()

        return real(vectors, counted)

    monkeypatch.setattr(graph, "_linked", watched)
    store = filled()
    assert begun.wait(20)
    store.close()
    assert len(asked) < COUNT


def test_auto_chooses_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "AUTO_BYTES", 4 * DIMENSION * COUNT)
    with filled(tmp_path / "s", index="auto") as store:
        assert store.wait_until_ready(60).kind == "hnsw"
        assert store.settings["index"] == "auto"
        store.delete(IDS[:1000])
        # Too small for another graph, and half of the old one is dead.
        assert store.wait_until_ready(60).kind == "flat"
    with FaissStore(FastEmbeddings(DIMENSION), path=tmp_path / "s") as store:
        assert store.index_info.setting == "auto"
    with pytest.raises(InvalidArgumentError, match="made with index='auto', got index='hnsw'"):
        FaissStore(FastEmbeddings(DIMENSION), path=tmp_path / "s", index="hnsw")
    shutil.rmtree(tmp_path / "s")
    monkeypatch.setattr(indexing, "AUTO_BYTES", 4 * DIMENSION * COUNT + 1)
    with filled(index="auto") as store:
        assert store.wait_until_ready(60).kind == "flat"


def test_threads_are_for_the_build_alone() -> None:
    before = faiss.omp_get_max_threads()
    with filled(threads=1) as store:
        assert store.wait_until_ready(60).kind == "hnsw"
        assert faiss.omp_get_max_threads() == before
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(InvalidArgumentError, match="threads must be a positive whole number"):
            FaissStore(FastEmbeddings(), threads=wrong)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many threads each part of a build took, on a machine with eight cores."""
    numbers: list[int] = []
    take = faiss.omp_set_num_threads

    def noted(number: int) -> None:
        numbers.append(number)
        take(number)

    monkeypatch.setattr(faiss, "omp_set_num_threads", noted)
    monkeypatch.setattr(views, "cores", lambda: 8)
    monkeypatch.setattr(views, "THREADS", 8)
    monkeypatch.setattr(graph, "_BATCH", 500)
    return numbers


def until_built(store: FaissStore) -> None:
    """Without waiting for it as a caller does."""
    deadline = time.monotonic() + 60
    while store.index_info.busy:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("cores", "most", "threads", "expected"),
    [
        (8, 8, None, 4),
        (3, 3, None, 1),
        (1, 1, None, 1),
        # OMP_NUM_THREADS, or a container's share of a larger machine.
        (8, 3, None, 3),
        (2, 64, None, 1),
        (8, 8, 6, 6),
    ],
)
def test_a_build_in_the_background_leaves_half_of_the_cores(
    monkeypatch: pytest.MonkeyPatch,
    taken: list[int],
    cores: int,
    most: int,
    threads: int | None,
    expected: int,
) -> None:
    monkeypatch.setattr(views, "cores", lambda: cores)
    monkeypatch.setattr(views, "THREADS", most)
    with filled(threads=threads) as store:
        until_built(store)
        assert store.index_info.kind == "hnsw"
    # Once before the first rows, with each of the four parts, and with each width that was tried.
    assert len(taken) >= 6
    assert set(taken) == {expected}


@pytest.mark.parametrize(("most", "threads", "expected"), [(8, None, 8), (5, None, 5), (8, 3, 3)])
def test_a_build_that_is_waited_for_takes_all_cores(
    monkeypatch: pytest.MonkeyPatch, taken: list[int], most: int, threads: int | None, expected: int
) -> None:
    monkeypatch.setattr(views, "THREADS", most)
    monkeypatch.setattr(upkeep, "QUIET", 60.0)
    with filled(threads=threads) as store:
        assert store.wait_until_ready(60).kind == "hnsw"
        assert set(taken) == {expected}
        # What repair() does about a view that is damaged.
        del taken[:]
        store._engine.views.remake()
        assert store.index_info.kind == "hnsw"
        assert set(taken) == {expected}


@pytest.mark.parametrize("stays", [True, False])
def test_a_build_takes_all_cores_for_as_long_as_somebody_waits(
    monkeypatch: pytest.MonkeyPatch, taken: list[int], stays: bool
) -> None:
    begun, go, real = threading.Event(), threading.Event(), graph._linked

    def held(vectors: np.ndarray, go_on: Callable[[], bool]) -> Any:
        begun.set()
        assert go.wait(20)
        return real(vectors, go_on)

    monkeypatch.setattr(graph, "_linked", held)
    with filled() as store:
        assert begun.wait(20)
        assert taken == [4]
        assert store.wait_until_ready(0.01).busy
        if stays:
            threading.Timer(0.3, go.set).start()
            assert store.wait_until_ready(60).kind == "hnsw"
        else:
            go.set()
            until_built(store)
    assert taken[0] == 4
    assert set(taken[1:]) == {8 if stays else 4}


def test_a_segment_that_finds_too_few_through_its_graph_looks_at_every_row(raw: Any) -> None:
    parts = arrays(raw)
    # No way leads anywhere, so a search finds where it begins and nothing else.
    parts["neighbors"][:] = -1
    lonely = graph.assembled(VECTORS, **parts, links=graph.LINKS, ef=80, recall=1.0)
    segment = Segment(np.arange(COUNT), VECTORS, None, lonely)
    rows, _, _ = segment.nearest(QUERIES[0], 5, None)
    assert rows.tolist() == np.argsort(-(VECTORS @ QUERIES[0]))[:5].tolist()

"""Whatever text, id and metadata a document has: it comes back exactly, or is refused by name and nothing changes."""

import json
import random
import sqlite3
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever.cli import output
from langchain_rerank_retriever.errors import InvalidArgumentError, InvalidDocumentError
from langchain_rerank_retriever.protocols import SCORE_KEYS

from . import hostile
from .hostile import Given, typed
from .scale import at_scale

#: Documents in a call that must succeed, and in one that must fail.
BATCH, BAD_BATCH = 100, 12
DOCUMENTS = at_scale(1_000, 10_000, 100_000)
LARGE = at_scale(300_000, 10_000_000, 10_000_000)

Kept = dict[str, tuple[str, Any]]


class Quick(Embeddings):
    """A vector by the checksum of the text, within microseconds."""

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        number = zlib.crc32(text.encode())
        return [1.0 + (number >> place & 255) for place in (0, 8, 16, 24)]


def kept(documents: Iterable[Document], but: frozenset[str] = frozenset()) -> Kept:
    """Documents with the types of all that is in them."""
    return {
        str(one.id): (
            one.page_content,
            typed({key: value for key, value in one.metadata.items() if key not in but}),
        )
        for one in documents
    }


def add(store: FaissStore, batch: Sequence[Given]) -> None:
    store.add_texts(
        [one.text for one in batch], [one.metadata for one in batch], ids=[one.id for one in batch]
    )


def fingerprint(store: FaissStore) -> list[Any]:
    """What any write would change."""
    with store._engine.connections.reading() as connection:
        return [
            connection.execute("SELECT seq, generation, space FROM state").fetchone(),
            connection.execute("SELECT count(*), max(pk), sum(crc) FROM document").fetchone(),
            connection.execute("SELECT count(*) FROM field").fetchone(),
        ]


def refused(store: FaissStore, rng: random.Random, number: int) -> None:
    """One bad document among good ones: named by place and field, and nothing is written."""
    batch = [hostile.good(rng, number + place) for place in range(BAD_BATCH)]
    place = rng.randrange(BAD_BATCH)
    batch[place], field = hostile.bad(rng, number + place)
    before = fingerprint(store)
    with pytest.raises(InvalidDocumentError) as caught:
        add(store, batch)
    message = str(caught.value)
    assert f"position {place}" in message
    assert field in message
    assert len(message) < 2000 + len(repr(batch[place].id))
    message.encode()
    assert fingerprint(store) == before


def filtered(store: FaissStore, expected: Kept, wanted: Given) -> None:
    """A filter by one hostile key and value finds every document that has them, and no other."""
    for key, value in wanted.metadata.items():
        if isinstance(value, list | dict) or key.startswith("$") or key in ("", "a.b"):
            continue
        same = {
            name
            for name, (_, data) in expected.items()
            if any(one == key and _equal(item, typed(value)) for one, item in data)
        }
        found = store.similarity_search("x", k=len(expected), filter={key: value})
        assert {one.id for one in found} == same, (key, value)


def _equal(item: Any, value: Any) -> bool:
    """As the filter's rules say: numbers by value, and a list by any of its elements."""
    if isinstance(item, list):
        return any(isinstance(one, tuple) and isinstance(one[0], type) and _equal(one, value) for one in item)
    kinds = {int: "number", float: "number"}
    if kinds.get(item[0], item[0]) != kinds.get(value[0], value[0]):
        return False
    return float(item[1]) == float(value[1]) if item[0] in kinds else item == value


def everywhere(store: FaissStore, expected: Kept, folder: Path, rng: random.Random) -> None:
    """Through every way out of a store the documents are as they were given."""
    assert kept(store.documents()) == expected
    names = list(expected)
    assert kept(store.get_by_ids(names)) == expected
    for name in rng.sample(names, min(20, len(names))):
        text = expected[name][0]
        found = kept(store.similarity_search(text, k=20)) | kept(store.lexical_search(text, k=5))
        assert all(expected[one] == document for one, document in found.items())
    store.save_local(folder / "copy")
    with FaissStore.load_local(folder / "copy", Quick()) as copy:
        assert kept(copy.documents()) == expected
    retriever = RerankRetriever(store, k=50, fetch_k=50, recall_mode="hybrid")
    retriever.save_local(folder / "bundle")
    again = RerankRetriever.load_local(folder / "bundle", embeddings=Quick())
    assert kept(again.recall.documents()) == expected
    query = rng.choice([text for text, _ in expected.values() if text.strip()])
    explained = kept(again.explain(query).documents, SCORE_KEYS)
    assert explained
    assert all(expected[one] == document for one, document in explained.items())
    again.recall.close()


def test_hostile_documents(goal: Any, seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    with goal("G12") as count:
        number = 0
        while count.done < DOCUMENTS:
            folder = tmp_path / str(number)
            expected: Kept = {}
            store = FaissStore(Quick(), path=folder / "store")
            for _ in range(10):
                batch = [hostile.good(rng, number + place) for place in range(BATCH)]
                add(store, batch)
                expected |= {one.id: (one.text, typed(one.metadata)) for one in batch}
                refused(store, rng, number)
                filtered(store, expected, batch[0])
                number += BATCH
                count.done += BATCH + BAD_BATCH
            store.close()
            with FaissStore(Quick(), path=folder / "store") as store:
                everywhere(store, expected, folder, rng)
                assert store.verify(deep=True).ok
        count.note = f"{number:,} came back exactly, the rest was refused by name"


@pytest.mark.parametrize("place", range(len(hostile.BAD_VALUES)))
def test_every_bad_value_is_refused(place: int) -> None:
    with (
        FaissStore(Quick()) as store,
        pytest.raises(InvalidDocumentError, match=r"position 1.*metadata|metadata.*position 1"),
    ):
        store.add_texts(["a", "b"], [{}, {"key": hostile.BAD_VALUES[place]()}])


def test_every_good_text_and_value_comes_back(goal: Any, tmp_path: Path) -> None:
    with goal("G12") as count, FaissStore(Quick(), path=tmp_path / "s") as store:
        batch = [Given(text, str(place), {"text": text}) for place, text in enumerate(hostile.TEXTS)]
        batch += [Given("t", f"v{place}", {"v": value}) for place, value in enumerate(hostile.VALUES)]
        batch += [Given("t", name, {name: name}) for name in hostile.LOOK_ALIKE_IDS]
        add(store, batch)
        assert kept(store.documents()) == {one.id: (one.text, typed(one.metadata)) for one in batch}
        count.done += len(batch)


def test_a_very_large_document(goal: Any, tmp_path: Path) -> None:
    with goal("G12") as count, FaissStore(Quick(), path=tmp_path / "s") as store:
        for name, text in (
            ("words", "word " * (LARGE // 5)),
            ("one word", "w" * LARGE),
            ("wide", "한" * (LARGE // 3)),
        ):
            store.add_texts([text], [{"copy": text[: LARGE // 10]}], ids=[name])
            (found,) = store.get_by_ids([name])
            assert found.page_content == text
            assert found.metadata == {"copy": text[: LARGE // 10]}
            count.done += 1
        assert store.lexical_search("word", k=1)[0].id == "words"


def test_an_id_twice_in_one_call_is_refused(goal: Any) -> None:
    with goal("G12") as count, FaissStore(Quick()) as store:
        for name in hostile.LOOK_ALIKE_IDS:
            ids = [*hostile.LOOK_ALIKE_IDS, name]
            with pytest.raises(
                InvalidDocumentError, match=rf"positions {ids.index(name)} and {len(ids) - 1} "
            ):
                store.add_texts(["t"] * len(ids), ids=ids)
            assert len(store) == 0
            count.done += 1


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(max_size=2)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=6,
)


def _is_storable(value: Any) -> bool:
    """Whether JSON gives a value back as it was; nothing here is the store's own judgement."""
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return False
    if isinstance(value, dict):
        return all(
            isinstance(key, str) and _is_storable(key) and _is_storable(item) for key, item in value.items()
        )
    if isinstance(value, list):
        return all(map(_is_storable, value))
    try:
        return typed(json.loads(json.dumps(value, allow_nan=False).encode("utf-8"))) == typed(value) and (
            not isinstance(value, str) or bool(value.encode("utf-8")) or value == ""
        )
    except (TypeError, ValueError):
        return False


@settings(max_examples=at_scale(50, 1_000, 10_000), deadline=None, print_blob=True)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=())),
            st.text(st.characters(exclude_categories=()), min_size=0, max_size=4),
            st.dictionaries(
                st.text(st.characters(exclude_categories=())).filter(lambda key: key not in SCORE_KEYS),
                values,
                max_size=3,
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_documents(rows: list[tuple[str, str, dict[str, Any]]]) -> None:
    """Stored exactly or refused as a whole, whichever an independent judgement says."""
    ids = [name for _, name, _ in rows]
    right = len(set(ids)) == len(ids) and all(
        name and "\0" not in name and all(map(_is_storable, (text, name, metadata)))
        for text, name, metadata in rows
    )
    with FaissStore(Quick()) as store:
        try:
            add(store, [Given(*row) for row in rows])
        except (InvalidDocumentError, InvalidArgumentError):
            assert not right
            assert len(store) == 0
        else:
            assert right
            assert kept(store.documents()) == {name: (text, typed(data)) for text, name, data in rows}


# ---------------------------------------------------------------- what reaches a terminal


def harmless(shown: str) -> bool:
    """Whether nothing in a text moves the cursor, changes the terminal or the direction of writing."""
    return not [
        one
        for one in shown
        if one != "\n" and unicodedata.category(one) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    ]


@pytest.fixture
def hostile_documents() -> list[Document]:
    return [
        Document(id=f"{text[:20]}\x1b[2J{place}", page_content=text, metadata={text[:9]: text})
        for place, text in enumerate(hostile.TEXTS)
    ]


def test_documents_are_printed_without_control_characters(
    hostile_documents: list[Document], capsys: pytest.CaptureFixture[str], goal: Any
) -> None:
    with goal("G12") as count:
        output.print_documents(hostile_documents)
        output.print_table(
            ["document", "text"], [[str(one.id), one.page_content[:100]] for one in hostile_documents]
        )
        for one in hostile_documents:
            output.print_text(one.page_content)
        assert harmless(capsys.readouterr().out)
        count.done += len(hostile_documents)


def test_documents_as_json_are_whole_and_without_control_characters(
    hostile_documents: list[Document], capsys: pytest.CaptureFixture[str], goal: Any
) -> None:
    with goal("G12") as count:
        output.print_json(output.as_data(hostile_documents))
        shown = capsys.readouterr().out
        assert harmless(shown)
        assert json.loads(shown) == output.as_data(hostile_documents)
        count.done += len(hostile_documents)


def test_the_texts_of_a_store_are_those_of_its_database(tmp_path: Path) -> None:
    """What was given lies in the file, letter by letter; another program reads the same."""
    with FaissStore(Quick(), path=tmp_path / "s") as store:
        store.add_texts(hostile.TEXTS, ids=list(map(str, range(len(hostile.TEXTS)))))
    connection = sqlite3.connect(tmp_path / "s" / "store.db")
    assert [text for (text,) in connection.execute("SELECT text FROM document ORDER BY pk")] == hostile.TEXTS
    connection.close()

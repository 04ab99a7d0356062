"""A store to damage, what it answers, and what must hold of the answers once it is damaged."""

import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langchain_rerank_retriever.store import FaissStore
from tests.store.helpers import FastEmbeddings

from .damage import Outcome, Way, files_of, laid_out

COUNT, DIMENSION = 90, 24
IDS = [f"id-{place}" for place in range(COUNT)]
TEXTS = [
    f"passage number {place} tells of word{place % 7} and of 한국어{place % 5} "
    + f"filler{place % 11} " * (place % 30)
    for place in range(COUNT)
]
METADATA = [{"group": place % 4, "nested": {"tags": [f"t{place % 3}", "all"]}} for place in range(COUNT)]

#: Answers that are read from an index of SQLite's, whose pages have no checksum: damage there is found by
#: `verify(deep=True)` and mended by `repair`, and until then may show. Everything else must never be wrong.
DERIVED = frozenset({"lexical", "lexical scores", "filtered", "compared", "by id", "by vector"})
#: What a problem must name, so that whoever reads it knows what to do.
REMEDIES = ("repair", "restore", "save the bundle anew", "Save the bundle anew", "save anew")


def make(folder: Path) -> None:
    """A closed store with a snapshot, some of whose documents were deleted and replaced before."""
    with opened(folder) as store:
        store.add_texts(TEXTS, METADATA, ids=IDS)
        store.delete(IDS[10:14])
        store.add_texts(["another text"], [{"group": 9}], ids=[IDS[20]])
        store.wait_until_ready(60)


def make_live(folder: Path) -> None:
    """The folder of a store whose process died: changes are still in the log beside the database."""
    source = folder.with_name("live")
    with opened(source) as store:
        store.add_texts(TEXTS, METADATA, ids=IDS)
        store.wait_until_ready(60)
        store._engine.connections.close()
        with opened(source) as again:
            again.delete(IDS[10:14])
            again.add_texts(["another text"], [{"group": 9}], ids=[IDS[20]])
            shutil.copytree(source, folder)
    shutil.rmtree(source)


def opened(folder: Path, **settings: Any) -> FaissStore:
    return FaissStore(FastEmbeddings(DIMENSION), path=folder, **settings)


def answers(store: FaissStore) -> dict[str, str]:
    """What each part of a store answers, to the last bit."""
    query = np.random.default_rng(3).standard_normal(DIMENSION)
    return {
        "dense": _shown(store.similarity_search_with_score_by_vector(query, k=60)),
        "by vector": repr([vector.tobytes() for vector in store.vectors_by_ids(["id-3"]).values()]),
        "lexical": _shown(store.lexical_search_with_score("word3 한국어2 filler4", k=COUNT)),
        "lexical scores": repr(sorted(store.lexical_scores("word3", IDS).items())),
        "filtered": repr([one.id for one in store.similarity_search("x", COUNT, {"nested.tags": "t1"})]),
        "compared": repr([one.id for one in store.similarity_search("x", COUNT, {"group": {"$gte": 2}})]),
        "by id": repr([one.id for one in store.get_by_ids(IDS)]),
        "documents": repr([(one.id, one.page_content, one.metadata) for one in store.documents()]),
        "count": repr(len(store)),
    }


def _shown(scored: Any) -> str:
    return repr([(one.id, one.page_content, one.metadata, score) for one, score in scored])


@dataclass(frozen=True)
class Subject:
    """A folder as it should be.

    Attributes:
        files: Its files.
        expected: Sets of answers that are right: more than one where losing the last changes looks like a crash.
    """

    files: Mapping[str, bytes]
    expected: tuple[dict[str, str], ...]


def subject(make_folder: Any, scratch: Path) -> Subject:
    make_folder(scratch)
    files = files_of(scratch)
    with opened(laid_out(files, scratch), read_only=True) as store:
        found = answers(store)
    shutil.rmtree(scratch)
    return Subject(files, (found,))


def without_last_changes(whole: Subject, scratch: Path) -> Subject:
    """The same, with the state before each change that only the log holds counted as right, too."""
    kept = {name: content for name, content in whole.files.items() if not name.endswith(("-wal", "-shm"))}
    states = list(whole.expected)
    log = whole.files["store.db-wal"]
    for length in frames(log):
        with opened(laid_out({**kept, "store.db-wal": log[:length]}, scratch), check_model=False) as store:
            found = answers(store)
        if found not in states:
            states.append(found)
    shutil.rmtree(scratch)
    return Subject(whole.files, tuple(states))


def frames(log: bytes) -> list[int]:
    """Lengths to which a log may be cut between two of SQLite's frames."""
    page = int.from_bytes(log[8:12], "big")
    return list(range(32, len(log) + 1, 24 + page))


def case(whole: Subject, folder: Path, file: str, way: Way, rng: random.Random) -> dict[str, Any]:
    """Damage a file, open the folder, ask everything, verify, repair where it is to help, ask again."""
    laid_out(whole.files, folder)
    way(folder / file, rng)
    with opened(folder, read_only=rng.random() < 0.3, memory_map=rng.random() < 0.3 or None) as store:
        # What is mapped is checked in the background, and right from then on.
        store.wait_until_ready(60)
        found = answers(store)
        facts: dict[str, Any] = {
            "wrong": differing(found, whole),
            "read only": store._engine.connections.read_only,
        }
        facts["problems"] = list(store.verify(deep=True).problems)
        if facts["problems"] and not facts["read only"]:
            result = store.repair()
            facts["repaired"] = list(result.repaired)
            facts["left"] = list(result.problems)
            if result.ok:
                facts["still wrong"] = differing(answers(store), whole)
                facts["found again"] = list(store.verify(deep=True).problems)
    return facts


def differing(found: Mapping[str, str], whole: Subject) -> list[str]:
    """Answers that are wrong by the nearest of the right states."""
    wrong = [[name for name in state if found.get(name) != state[name]] for state in whole.expected]
    return min(wrong, key=len)


def fault_of(outcome: Outcome) -> str:
    """What must not be, in words; nothing where all is as it must be."""
    facts = outcome.facts
    if outcome.refused is not None:
        return "" if len(outcome.message) > 20 else f"an error that says nothing: {outcome.message!r}"
    wrong, problems = set(facts["wrong"]), facts["problems"]
    if wrong - DERIVED:
        return f"wrong answers: {sorted(wrong)}; verify says {problems}"
    if wrong and not problems:
        return f"wrong answers that verify does not see: {sorted(wrong)}"
    if unhelpful := [text for text in problems if not any(remedy in text for remedy in REMEDIES)]:
        return f"problems without a remedy: {unhelpful}"
    if facts.get("still wrong") or facts.get("found again"):
        return f"repair did not help: {facts}"
    return ""


def kind_of(outcome: Outcome) -> str:
    """For the record."""
    if outcome.refused is not None:
        return "refused"
    if outcome.facts["wrong"]:
        return "wrong in an index until repaired"
    if outcome.facts["problems"]:
        return "right and found by verify"
    return "right after a rebuild" if outcome.logged else "right"

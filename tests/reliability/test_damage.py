"""Damaged files (G5): an error of ours or the right answer, never a signal, never for long."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from langchain_rerank_retriever.errors import FormatError
from langchain_rerank_retriever.store import snapshots, upkeep

from . import damage, damage_parts, damage_store
from .damage import Outcome, Way, files_of, in_child, laid_out
from .damage_store import Subject
from .goals import Count
from .scale import at_scale

Goal = Callable[[str], AbstractContextManager[Count]]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few documents have a snapshot, and nothing is made in the background unless it is waited for."""
    monkeypatch.setattr(snapshots, "MIN_ROWS", 50)
    monkeypatch.setattr(upkeep, "QUIET", 60.0)


def told(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def damaged(
    count: Count,
    seed: int,
    cases: int,
    files: Sequence[str],
    case: Callable[[str, Way, random.Random], dict[str, Any]],
    judged: Callable[[Outcome], tuple[str, str]],
) -> None:
    """Damage one file after the other, each in a process of its own.

    Args:
        count: Where it is written down.
        seed: Of all choices.
        cases: How many.
        files: Which are damaged; one that stands there twice is twice as often.
        case: Damages a file and opens what it belongs to.
        judged: What must not be, in words, and the kind of outcome, for the record.
    """
    rng, kinds = random.Random(seed), Counter[str]()
    for place in range(cases + 1):
        way = damage.drawn(rng) if place else damage.untouched
        file, number = rng.choice(files), rng.getrandbits(32)
        label = f"{way.__name__} of {file} with {number}"
        try:
            outcome = in_child(lambda: case(file, way, random.Random(number)))  # noqa: B023 - run at once
        except AssertionError as error:
            raise AssertionError(f"{label}: {error}") from error
        fault, kind = judged(outcome)
        assert not fault, f"{label}: {fault}"
        assert place or outcome.refused is None, f"{label}: {outcome.message}"
        count.done += 1
        kinds[kind] += 1
        count.note = told(kinds)


# ---------------------------------------------------------------- stores


@pytest.fixture(params=["closed", "live"])
def store(request: pytest.FixtureRequest, quick: Path) -> Subject:
    if request.param == "closed":
        return damage_store.subject(damage_store.make, quick / "made")
    made = damage_store.subject(damage_store.make_live, quick / "made")
    return damage_store.without_last_changes(made, quick / "made")


def test_stores(goal: Goal, seed: int, store: Subject, quick: Path) -> None:
    """What is derived may be wrong where SQLite's pages are, until `verify` finds it and `repair` mends it."""
    names = [name for name, content in store.files.items() for _ in range(4 if content else 1)]
    with goal("G5") as count:
        damaged(
            count,
            seed,
            at_scale(12, 100, 4000),
            sorted(names),
            lambda file, way, rng: damage_store.case(store, quick / "store", file, way, rng),
            lambda outcome: (damage_store.fault_of(outcome), damage_store.kind_of(outcome)),
        )


def test_a_database_whose_tables_are_gone_is_not_made_anew(quick: Path) -> None:
    damage_store.make(quick / "store")
    file = quick / "store" / "store.db"
    content = bytearray(file.read_bytes())
    content[103:105] = bytes(2)  # the number of entries in the first page, which lists the tables
    file.write_bytes(content)
    for settings in ({}, {"read_only": True}):
        with pytest.raises(FormatError, match=r"damaged.*restore a copy"):
            damage_store.opened(quick / "store", **settings)
        assert file.read_bytes() == content


@pytest.mark.parametrize("beside", ["view-0123456789abcdef.snapshot", "store.db-wal", "notes.txt"])
def test_an_emptied_database_is_not_made_anew(quick: Path, beside: str) -> None:
    """SQLite would remove its log, which may hold all that was ever written."""
    damage_store.make_live(quick / "store")
    for file in (quick / "store").iterdir():
        if file.name not in ("store.db", beside):
            file.unlink()
    (quick / "store" / "store.db").write_bytes(b"")
    if not (quick / "store" / beside).exists():
        (quick / "store" / beside).write_bytes(b"x")
    before = files_of(quick / "store")
    with pytest.raises(FormatError, match=r"is empty, but beside it lies .*restore a copy"):
        damage_store.opened(quick / "store")
    assert files_of(quick / "store") == before


# ---------------------------------------------------------------- bundles


def test_manifests(goal: Goal, seed: int, quick: Path) -> None:
    """One in which a value became another value is refused, too."""
    damage_parts.make_bundle(quick / "made")
    files, expected = files_of(quick / "made"), damage_parts.bundle_answers(quick / "made")

    def case(file: str, way: Way, rng: random.Random) -> dict[str, Any]:
        way(laid_out(files, quick / "bundle") / file, rng)
        return {"right": damage_parts.bundle_answers(quick / "bundle") == expected}

    def judged(outcome: Outcome) -> tuple[str, str]:
        if outcome.refused is not None:
            return "", "refused"
        right = outcome.facts["right"]
        return ("" if right else "wrong answers"), "right" if right else "wrong"

    with goal("G5") as count:
        damaged(count, seed, at_scale(8, 100, 2000), ["bundle.json"], case, judged)


def test_commands(goal: Goal, seed: int, quick: Path) -> None:
    """What `verify --deep` calls whole answers right, and so does what `repair` calls repaired."""
    damage_parts.make_bundle(quick / "made")
    files, expected = files_of(quick / "made"), damage_parts.bundle_answers(quick / "made")

    def judged(outcome: Outcome) -> tuple[str, str]:
        fault = outcome.message or damage_parts.command_fault(outcome.facts, expected)
        kinds = [name for name in ("said", "repaired") if outcome.facts and outcome.facts[name]["ok"]]
        return fault, {0: "told", 1: "repaired", 2: "right"}[len(kinds)]

    with goal("G5") as count:
        damaged(
            count,
            seed,
            at_scale(3, 40, 1500),
            ["store/store.db"],
            lambda file, way, rng: damage_parts.command_case(files, quick / "bundle", file, way, rng),
            judged,
        )


def test_models(goal: Goal, seed: int, quick: Path) -> None:
    import torch

    damage_parts.make_models(quick / "made")
    noted = damage_parts.noted_models(quick / "made")
    parts = ("bi_encoder", "cross_encoder")

    def asked(folder: Path, part: str) -> dict[str, str]:
        # OpenMP's threads do not survive the fork, and as many threads as here give the same bits.
        torch.set_num_threads(1)
        return damage_parts.model_answers(folder, part, noted)

    expected = {part: in_child(lambda: asked(quick / "made", part), 60.0).facts for part in parts}  # noqa: B023 - at once
    files = {
        name: content
        for name, content in files_of(quick / "made").items()
        if name.partition("/")[0] in expected
    }

    def case(file: str, way: Way, rng: random.Random) -> dict[str, Any]:
        way(laid_out(files, quick / "models") / file, rng)
        part = file.partition("/")[0]
        return {"right": asked(quick / "models", part) == expected[part]}

    with goal("G5") as count:
        damaged(
            count,
            seed,
            at_scale(2, 30, 2000),
            sorted(files),
            case,
            lambda outcome: (
                ("" if outcome.refused or outcome.facts["right"] else "a wrong answer"),
                "refused" if outcome.refused else "right",
            ),
        )


# ---------------------------------------------------------------- tuning runs


def test_runs(goal: Goal, seed: int, quick: Path) -> None:
    files = files_of(damage_parts.make_run(quick / "made"))

    def case(file: str, way: Way, rng: random.Random) -> dict[str, Any]:
        if (file, way) == ("run.json", damage.folder):
            way = damage.missing  # see the test below
        return damage_parts.run_case(files, quick / "bundle", file, way, rng)

    def judged(outcome: Outcome) -> tuple[str, str]:
        if outcome.refused is not None:
            return "", "refused"
        return damage_parts.run_fault(outcome.facts), "what is whole is used"

    with goal("G5") as count:
        damaged(
            count,
            seed,
            at_scale(12, 120, 6500),
            sorted(files),
            case,
            judged,
        )


def test_a_folder_in_the_place_of_what_is_known_of_a_run(quick: Path) -> None:
    files = files_of(damage_parts.make_run(quick / "made"))
    damage_parts.run_case(files, quick / "bundle", "run.json", damage.folder, random.Random(0))

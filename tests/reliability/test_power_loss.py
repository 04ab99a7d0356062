"""G3: what our own files hold after a power loss, by what was synced until then."""

import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from langchain_rerank_retriever import files
from langchain_rerank_retriever.errors import RerankError
from langchain_rerank_retriever.store import FaissStore
from tests.store.helpers import FastEmbeddings

from .power_loss import Disk, Losses, damaged
from .scale import at_scale
from .steps import watched
from .steps_scripts import FilesScript, Script, StoreScript
from .steps_scripts_bundle import BundleScript

#: Losses before about this share of the steps.
SHARE = 0.15


def run_script(seed: int, *, prepared: bool = True) -> Script:
    # torch and transformers come with it.
    from .steps_scripts_run import RunScript

    return RunScript(seed, prepared=prepared)


SCRIPTS: dict[str, tuple[Callable[[int], Script], int]] = {
    "store": (StoreScript, at_scale(20, 80, 700)),
    "store with graphs": (lambda seed: StoreScript(seed, "hnsw"), at_scale(15, 60, 500)),
    "store without words": (lambda seed: StoreScript(seed, "auto", lexical=False), at_scale(0, 30, 200)),
    "bundle": (BundleScript, at_scale(15, 60, 300)),
    "reports and run files": (FilesScript, at_scale(30, 100, 300)),
    "tuning run": (run_script, at_scale(20, 60, 300)),
}


@pytest.mark.parametrize("name", [name for name, (_, losses) in SCRIPTS.items() if losses])
def test_what_was_acknowledged_is_there_and_nothing_is_half(quick: Path, goal, seed: int, name: str) -> None:
    make, asked = SCRIPTS[name]
    rng = random.Random(seed)
    with goal("G3") as count:
        losses = Losses(SHARE, quick)
        while losses.done < asked:
            number = rng.getrandbits(32)
            losses.play(make(number), number)
            count.done = losses.done


@pytest.mark.parametrize("name", ["store", "bundle", "reports and run files", "tuning run"])
def test_syncs_that_are_left_out_are_found(quick: Path, monkeypatch, seed: int, name: str) -> None:
    """The harness sees what it is there for."""
    make, _ = SCRIPTS[name]
    monkeypatch.setattr(files, "sync", lambda path: None)
    with pytest.raises((AssertionError, RerankError, ValueError)):
        play(make, quick, range(seed, seed + 10))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda seed: StoreScript(seed, above="made"), id="store"),
        pytest.param(lambda seed: BundleScript(seed, prepared=False), id="bundle"),
        pytest.param(lambda seed: run_script(seed, prepared=False), id="steps"),
    ],
)
def test_a_folder_that_is_made_on_the_way(
    quick: Path, goal, seed: int, make: Callable[[int], Script]
) -> None:
    with goal("G3") as count:
        count.done = play(make, quick, range(seed, seed + at_scale(1, 2, 5)))


def play(make: Callable[[int], Script], folder: Path, seeds: Iterable[int]) -> int:
    losses = Losses(SHARE, folder)
    for seed in seeds:
        losses.play(make(seed), seed)
    return losses.done


def test_a_copy_that_was_never_opened_is_replaced_durably(quick: Path, seed: int) -> None:
    """It has a journal and no log; what commits there is the removal of the journal, which SQLite does not sync."""
    root, image = quick / "root", quick / "image"
    root.mkdir()
    with FaissStore(FastEmbeddings()) as store:
        store.add_texts(["first"])
        store.save_local(root / "copy")
        disk = Disk(root)
        store.add_texts(["second"])
        with watched(lambda step: disk.look(), disk.note):
            store.save_local(root / "copy")
    for number in range(10):
        disk.image(image, random.Random(seed + number))
        with FaissStore.load_local(image / "copy", FastEmbeddings()) as copy:
            assert len(copy) == 2
        shutil.rmtree(image)
    disk.close()


def test_only_what_is_synced_survives_for_certain(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    disk, found = Disk(tmp_path / "root"), set()
    kept, new = tmp_path / "root" / "kept", tmp_path / "root" / "new"
    with watched(lambda step: disk.look(), disk.note):
        kept.write_bytes(b"abcdefgh")
        files.sync(kept)
        files.sync(kept.parent)
        new.write_bytes(b"12345678")
        new.replace(kept)
    disk.look()
    for number in range(200):
        image = tmp_path / str(number)
        disk.image(image, random.Random(number))
        assert [entry.name for entry in image.iterdir()] in (
            [],
            ["kept"],
            ["new"],
            ["kept", "new"],
            ["new", "kept"],
        )
        found.add((image / "kept").read_bytes() if (image / "kept").exists() else None)
    disk.close()
    # The old under a rename that was undone; of the new, which was never synced, whatever there is of it.
    assert {b"abcdefgh", b"12345678", bytes(8), b"1234", b"", None} < found
    assert any(
        one is not None and len(one) == 8 and one.startswith(b"1") and one != b"12345678" for one in found
    )


def test_every_damage_comes() -> None:
    found = {damaged(b"0000", random.Random(number)) for number in range(100)}
    assert {b"0000", b"00", bytes(4)} < found
    assert all(len(one) == 4 for one in found - {b"00"})

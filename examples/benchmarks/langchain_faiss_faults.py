"""The same faults to LangChain's FAISS store and to FaissStore, as a Markdown table.

    python examples/benchmarks/langchain_faiss_faults.py
    python examples/benchmarks/langchain_faiss_faults.py --folders 100

LangChain's is that of langchain_community, from `pip install 'langchain-rerank-retriever[bench]'`. Both sides get the
same texts, vectors, calls and moments, each in a process of its own, since some of the faults can end it.
"""

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from langchain_faiss_sides import (
    DIMENSION,
    Child,
    Outcome,
    Side,
    Trial,
    error_of,
    ours,
    passages,
    save_new,
    scores_of_all,
    theirs,
    unreachable,
)

#: Documents of killed saves, which take a while, and of damaged files: from so many on FaissStore has an index file.
SAVED, INDEXED = 5_000, 20_000
#: A kill comes at most so many seconds after the saving has begun.
LATEST_KILL = 1.0
SEARCHERS, WRITERS, ADDED_AT_ONCE = 4, 2, 10
#: How often a process tries to load, add and save before it gives that text up.
TRIES = 20


def _word(result: Any) -> str:
    return result if isinstance(result, str) else str(result["died"])


def _listed(ended: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in ended.most_common())


# ---------------------------------------------------------------- saves that are killed


def killed_saves(trial: Trial, *, folders: int, seed: int = 0) -> Outcome:
    """Save over a good folder again and again, kill the process, and open the folder."""
    base = trial.scratch / "base"
    Child(save_new, trial.side, base, SAVED).result()
    rng, ended = random.Random(seed), Counter[str]()
    for number in range(folders):
        target = trial.scratch / str(number)
        shutil.copytree(base, target)
        saving = Child(_save_for_ever, trial.side, base, target, tells=True)
        saving.kill_after(rng.uniform(0, LATEST_KILL))
        ended[_word(Child(_reopened, trial.side, target).result())] += 1
        shutil.rmtree(target)
    right = ended.pop("right", 0)
    why = f" ({_listed(ended)})" if ended else ""
    return Outcome(folders - right, f"{right} of {folders} folders load correctly{why}")


def _save_for_ever(side: Side, base: Path, target: Path, ready: Callable[[], object]) -> None:
    store = side.load(base)
    ready()
    while True:
        side.save(store, target)


def _reopened(side: Side, folder: Path) -> str:
    opened: list[Any] = []
    error = error_of(lambda: opened.append(side.load(folder)))
    if error is not None:
        return error
    (store,) = opened
    whole = side.count(store) == SAVED and not unreachable(store, passages(SAVED)[::100])
    return "right" if whole else "wrong content"


# ---------------------------------------------------------------- several processes, several threads, damage


def two_processes(trial: Trial, *, adds: int) -> Outcome:
    """Two processes load, add one text and save, in one folder, each half of the adds."""
    folder, half = trial.scratch / "shared", adds // 2
    Child(save_new, trial.side, folder, 10).result()
    writers = [Child(_load_add_save, trial.side, folder, name, half) for name in ("first", "second")]
    errors = sum(writer.result() for writer in writers)
    wanted = passages(half, "first") + passages(half, "second")
    lost = Child(_missing, trial.side, folder, wanted).result()
    if not isinstance(lost, int):
        return Outcome(adds, f"all {adds} adds lost: the folder cannot be opened any more; {errors} errors")
    return Outcome(lost + errors, f"{lost} of {adds} adds lost, {errors} errors on the way")


def _load_add_save(side: Side, folder: Path, name: str, adds: int) -> int:
    def once(text: str) -> None:
        store = side.load(folder)
        store.add_texts([text])
        side.save(store, folder)

    errors = 0
    for text in passages(adds, name):
        for _ in range(TRIES):
            if error_of(partial(once, text)) is None:
                break
            errors += 1
    return errors


def _missing(side: Side, folder: Path, wanted: list[str]) -> int:
    return unreachable(side.load(folder), wanted)


def threads(trial: Trial, *, seconds: float) -> Outcome:
    """Search and add in several threads, then look for every text whose add has returned."""
    result = Child(_in_threads, trial.side, seconds).result()
    if "died" in result:
        return Outcome(1, f"the process died ({result['died']})")
    lost, added, errors = result["unreachable"], result["added"], result["errors"]
    return Outcome(lost + errors, f"{lost:,} of {added:,} added documents unreachable, {errors} errors")


def _in_threads(side: Side, seconds: float) -> dict[str, int]:
    store = side.new(passages(2_000))
    added: list[str] = []
    errors: list[str] = []

    def search(number: int) -> None:
        store.similarity_search(f"passage {number % 2_000}", k=4)

    def add(name: str, number: int) -> None:
        new = passages(ADDED_AT_ONCE, f"{name}-{number}")
        store.add_texts(new)
        added.extend(new)

    def repeat(step: Callable[[int], None]) -> None:
        number, deadline = 0, time.monotonic() + seconds
        while time.monotonic() < deadline:
            errors.extend(filter(None, [error_of(partial(step, number))]))
            number += 1

    steps = [search] * SEARCHERS + [partial(add, f"writer-{number}") for number in range(WRITERS)]
    running = [threading.Thread(target=repeat, args=(step,)) for step in steps]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return {"added": len(added), "unreachable": unreachable(store, added), "errors": len(errors)}


def flipped_bits(trial: Trial, *, files: int, seed: int = 0) -> Outcome:
    """Flip one bit of the index file, open the folder, and compare the scores of all documents with those before."""
    base, right, found = (trial.scratch / name for name in ("indexed", "right.npy", "found.npy"))
    Child(save_new, trial.side, base, INDEXED).result()
    Child(scores_of_all, trial.side, base, INDEXED, right).result()
    rng, ended = random.Random(seed), Counter[str]()
    for number in range(files):
        folder = trial.scratch / f"flipped-{number}"
        shutil.copytree(base, folder)
        damaged = trial.side.index_file(folder)
        content = bytearray(damaged.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        damaged.write_bytes(content)
        said = _word(Child(scores_of_all, trial.side, folder, INDEXED, found).result())
        if said == "opened":
            said = (
                "the same scores"
                if np.array_equal(np.load(right), np.load(found))
                else "other scores, silently"
            )
        ended[said] += 1
        shutil.rmtree(folder)
    fine = ended["the same scores"] + ended["refused"]
    return Outcome(files - fine, _listed(+ended) + f", of {files} files")


# ---------------------------------------------------------------- single calls


def existing_id(trial: Trial) -> Outcome:
    """Add two texts, one under an id that is there already, and search."""
    error, failing, text = Child(_add_existing, trial.side).result()
    told = "the document is replaced" if error is None else f"raises {error}"
    return Outcome(failing + (text != "new"), f"{told}; after it {failing} of 20 searches fail")


def _add_existing(side: Side) -> tuple[str | None, int, str]:
    store = side.new(["old", "another"], ids=["a", "b"])
    error = error_of(lambda: store.add_texts(["new", "third"], ids=["a", "c"]))
    searches = [partial(store.similarity_search, query, k=4) for query in passages(20, "query")]
    failing = sum(error_of(search) is not None for search in searches)
    return error, failing, store.get_by_ids(["a"])[0].page_content


def rare_filter(trial: Trial) -> Outcome:
    """Of 10,000 documents 10 match a filter, and 10 are asked for."""
    found = Child(_filtered, trial.side).result()
    return Outcome(200 - found, f"{found / 20:.1f} of the 10 are found")


def _filtered(side: Side) -> int:
    kinds = [{"kind": "usual" if number % 1_000 else "rare"} for number in range(10_000)]
    store = side.new(passages(10_000), metadatas=kinds)
    asked = passages(20, "query")
    return sum(len(store.similarity_search(query, k=10, filter={"kind": "rare"})) for query in asked)


def wrong_length(trial: Trial) -> Outcome:
    """Add vectors of another length under `python -O`, which leaves assertions out."""
    code = "import sys, langchain_faiss_faults as faults; faults.add_wrong_length(sys.argv[1])"
    finished = subprocess.run(
        [sys.executable, "-O", "-W", "ignore", "-c", code, trial.side.name],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode < 0:
        return Outcome(1, f"the process died (signal {-finished.returncode})")
    if finished.returncode > 0:
        raise RuntimeError(finished.stderr)
    return _taken(json.loads(finished.stdout))


def add_wrong_length(name: str) -> None:
    """Run by `wrong_length`."""
    side = ours() if name == ours().name else theirs()
    print(json.dumps(_added(side, np.ones((4, DIMENSION // 2), np.float32))))


def nan_vector(trial: Trial) -> Outcome:
    """Add vectors of which one holds NaN."""
    vectors = np.ones((4, DIMENSION), np.float32)
    vectors[1, 1] = np.nan
    return _taken(Child(_added, trial.side, vectors).result())


def _added(side: Side, vectors: np.ndarray) -> tuple[str | None, int]:
    store = side.new(passages(8))
    error = error_of(lambda: side.add_vectors(store, passages(4, "new"), vectors))
    return error, side.count(store) - 8


def _taken(result: tuple[str | None, int]) -> Outcome:
    error, added = result
    return Outcome(added, "taken without a word" if error is None else f"{error}, {added or 'nothing'} added")


def main(
    folders: Annotated[int, typer.Option(help="Saves that are killed.")] = 40,
    adds: Annotated[int, typer.Option(help="Of two processes together.")] = 200,
    seconds: Annotated[float, typer.Option(help="How long threads search and add.")] = 5.0,
    files: Annotated[int, typer.Option(help="Index files that are damaged.")] = 40,
    seed: Annotated[int, typer.Option(help="Of moments and places.")] = 0,
) -> None:
    try:
        sides = [theirs(), ours()]
    except ImportError as error:
        raise SystemExit(
            "Needs pip install 'langchain-rerank-retriever[bench]', for LangChain's store."
        ) from error
    faults: dict[str, Callable[[Trial], Outcome]] = {
        "`kill -9` while saving over a good folder": partial(killed_saves, folders=folders, seed=seed),
        "two processes load, add and save in one folder": partial(two_processes, adds=adds),
        f"{SEARCHERS} threads search, {WRITERS} add, {seconds:g} s": partial(threads, seconds=seconds),
        "one bit of the index file flipped": partial(flipped_bits, files=files, seed=seed),
        "an id that is there already": existing_id,
        "a filter that 10 of 10,000 documents match, k=10": rare_filter,
        "vectors of a wrong length, `python -O`": wrong_length,
        "a vector with NaN": nan_vector,
    }
    print("| | " + " | ".join(side.name for side in sides) + " |\n|---|---|---|")
    for name, fault in faults.items():
        cells = []
        for side in sides:
            with TemporaryDirectory() as scratch:
                cells.append(fault(Trial(side, Path(scratch))).told)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    typer.run(main)

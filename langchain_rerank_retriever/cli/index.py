"""`langchain-rerank index`."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.cli.documents.reading import Reading
from langchain_rerank_retriever.cli.documents.records import Record
from langchain_rerank_retriever.cli.files import Files, tell_bad
from langchain_rerank_retriever.cli.filled_bundle import Parts, check_parts, filled_bundle
from langchain_rerank_retriever.cli.output import print_json, printable, say
from langchain_rerank_retriever.cli.upsert import Counts, Upsert
from langchain_rerank_retriever.training.progress import Phases


@dataclass(frozen=True, slots=True)
class How:
    """How a run fills a bundle.

    Attributes:
        records: How many there are to read.
        prune: Whether documents of earlier runs go whose file is not of this one.
        distinct: Whether documents whose text came before are left out.
    """

    records: int
    prune: bool
    distinct: bool


def run(files: Files, into: Path, parts: Parts, *, prune: bool, distinct: bool, as_json: bool) -> None:
    """Read everything once, so that nothing is changed where a line is bad; then index what changed."""
    check_parts(into.resolve(), parts)
    found, reading = files.found()
    records = _surveyed(reading)
    tell_bad(reading)
    counts = Counts()
    how = How(records=records, prune=prune, distinct=distinct)
    try:
        total = _filled(files, reading, into.resolve(), parts, counts, how)
    except KeyboardInterrupt:
        # Told when the bars are gone, which would be drawn over it.
        done = counts.added + counts.changed
        say(
            f"langchain-rerank: {done} documents were indexed and stay; the same command goes on from there.",
            err=True,
        )
        raise
    told = {
        "files": len(found.sources),
        "records": records,
        "documents": total,
        **counts.to_dict(),
        "skipped": len(reading.bad),
        "other_files": found.others,
    }
    _print(into, told, distinct=distinct, as_json=as_json)


def _surveyed(reading: Reading) -> int:
    """Read everything and change nothing; return how many records there are."""
    records, total = 0, max(1, len(reading.sources))
    with Phases(show=sys.stderr.isatty()) as phases, phases.phase("reading") as update:
        for _ in reading:
            records += 1
            update(reading.source / total)
    return records


def _filled(files: Files, reading: Reading, folder: Path, parts: Parts, counts: Counts, how: How) -> int:
    """Bring a bundle up to date; return how many documents it has then."""
    with ExitStack() as opened:
        phases = opened.enter_context(Phases(show=sys.stderr.isatty()))
        with phases.phase("loading the model"):
            store, embeddings = filled_bundle(folder, parts, opened)
        upsert = opened.enter_context(closing(Upsert(store, counts, distinct=how.distinct)))
        with phases.phase("indexing") as update:
            counted = _Counted(reading)
            documents = files.chunking.of(counted, embeddings)
            upsert.add(documents, lambda: update(counted.taken / max(1, how.records)))
        names = {one.name for one in reading.sources}
        upsert.delete_vanished(names, reading.incomplete, prune=how.prune)
        return len(store)


class _Counted:
    """Records, counted as they are taken."""

    def __init__(self, reading: Reading) -> None:
        self.taken = 0
        self._reading = reading

    def __iter__(self) -> Iterator[Record]:
        for record in self._reading:
            yield record
            self.taken += 1


def _print(into: Path, counts: dict[str, Any], *, distinct: bool, as_json: bool) -> None:
    if as_json:
        print_json({"bundle": str(into), **counts})
        return
    done = ", ".join(f"{counts[name]:,} {name}" for name in ("added", "changed", "unchanged", "deleted"))
    say(
        f"{printable(str(into))} has {counts['documents']:,} documents; of {counts['files']:,} files: {done}."
    )
    if counts["repeated"]:
        told = "left out" if distinct else "an answer can be found twice (--distinct leaves them out)"
        say(f"Repeated texts: {counts['repeated']:,}; {told}.")
    if counts["skipped"]:
        say(f"{counts['skipped']:,} bad lines or files were skipped.")
    if counts["other_files"]:
        say(f"{counts['other_files']:,} files of other kinds were left out.")

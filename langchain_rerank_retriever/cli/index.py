"""`langchain-rerank index`."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import typer
from langchain_core.documents import Document

from langchain_rerank_retriever.cli.documents.reading import Reading
from langchain_rerank_retriever.cli.documents.records import Record
from langchain_rerank_retriever.cli.files import Files, tell_bad
from langchain_rerank_retriever.cli.filled_bundle import Parts, check_parts, filled_bundle
from langchain_rerank_retriever.cli.output import print_json, printable
from langchain_rerank_retriever.cli.upsert import Upsert, upserting
from langchain_rerank_retriever.training.progress import Phases, Update


def run(files: Files, into: Path, parts: Parts, *, prune: bool, as_json: bool) -> None:
    """Read everything once, so that nothing is changed where a line is bad; then index what changed."""
    folder = into.resolve()
    check_parts(folder, parts)
    found, reading = files.found()
    with ExitStack() as opened:
        phases = opened.enter_context(Phases(show=sys.stderr.isatty()))
        with phases.phase("reading") as update:
            records = _checked(reading, update)
        tell_bad(reading)
        with phases.phase("loading the model"):
            store, embeddings = filled_bundle(folder, parts, opened)
        upsert = opened.enter_context(upserting(store))
        with phases.phase("indexing") as update:
            documents = files.chunking.of(_told(reading, records, update), embeddings)
            _add(upsert, documents)
        upsert.delete_vanished({one.name for one in found.sources}, reading.incomplete, prune=prune)
        total = len(store)
    counts = {
        "files": len(found.sources),
        "records": records,
        "documents": total,
        **upsert.counts.to_dict(),
        "skipped": len(reading.bad),
        "other_files": found.others,
    }
    _print(into, counts, as_json=as_json)


def _checked(reading: Reading, update: Update) -> int:
    records, total = 0, max(1, len(reading.sources))
    for _ in reading:
        records += 1
        update(reading.source / total)
    return records


def _told(reading: Reading, total: int, update: Update) -> Iterator[Record]:
    for number, record in enumerate(reading):
        update(number / max(1, total))
        yield record


def _add(upsert: Upsert, documents: Iterable[Document]) -> None:
    try:
        upsert.add(documents)
    except KeyboardInterrupt:
        done = upsert.counts.added + upsert.counts.changed
        typer.echo(
            f"langchain-rerank: {done} documents were indexed and stay; the same command goes on from there.",
            err=True,
        )
        raise


def _print(into: Path, counts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json({"bundle": str(into), **counts})
        return
    done = ", ".join(f"{counts[name]:,} {name}" for name in ("added", "changed", "unchanged", "deleted"))
    typer.echo(
        f"{printable(str(into))} has {counts['documents']:,} documents; of {counts['files']:,} files: {done}."
    )
    if counts["skipped"]:
        typer.echo(f"{counts['skipped']:,} bad lines or files were skipped.")
    if counts["other_files"]:
        typer.echo(f"{counts['other_files']:,} files of other kinds were left out.")

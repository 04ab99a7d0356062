"""`langchain-rerank tune`."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from langchain_rerank_retriever import bundle
from langchain_rerank_retriever.bundle_folder import folder_of
from langchain_rerank_retriever.bundled_model import SavedModel
from langchain_rerank_retriever.cli.bundled_store import open_store
from langchain_rerank_retriever.cli.documents.records import Record
from langchain_rerank_retriever.cli.documents.sources import TABLES, Source
from langchain_rerank_retriever.cli.documents.tables import table_rows
from langchain_rerank_retriever.cli.files import Files, tell_bad
from langchain_rerank_retriever.cli.output import print_json, print_text, printable, say
from langchain_rerank_retriever.cli.whole_labels import of_chunks
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.errors import DataError, FormatError, InvalidArgumentError
from langchain_rerank_retriever.training import TuningReport, tune
from langchain_rerank_retriever.training.proof.systems import BASE

#: What says on the command line that recall alone is tuned.
NO_RERANKER = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Where the training data are, and by which columns; None for the names that `tune` knows."""

    data: Path
    held_out: Path | None
    query_column: str | None
    passage_column: str | None
    document_id_column: str | None
    encoding: str

    def rows(self, path: Path | None) -> Any:
        """Return data as `tune` takes them."""
        named = {
            "query": self.query_column,
            "passage": self.passage_column,
            "document_id": self.document_id_column,
        }
        columns = {name: column for name, column in named.items() if column is not None}
        if path is None or not columns:
            return path
        source = Source(path, path.name)
        if source.kind not in TABLES:
            raise DataError(f"{path}: columns can be named of files ending in {', '.join(TABLES)}.")
        return list(_named(source, columns, self.encoding))


def _named(source: Source, columns: Mapping[str, str], encoding: str) -> Iterator[dict[str, Any]]:
    """Yield rows with nothing but the named columns, by the names that `tune` knows."""
    for place, row in table_rows(source, encoding):
        if isinstance(row, DataError):
            raise row
        missing = [column for column in columns.values() if row.get(column) is None]
        if missing:
            raise DataError(
                f"{place}: there is nothing in the column {missing[0]!r}; there are {', '.join(row)}."
            )
        yield {name: row[column] for name, column in columns.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The rest of what `tune` takes; None where it has its own default."""

    model: str | None
    reranker: str
    output: Path
    minutes: float | None
    steps: int | None
    seed: int
    resume: bool

    @property
    def start(self) -> str | None:
        """The re-ranker to start from."""
        return None if self.reranker == NO_RERANKER else self.reranker


def run(files: Files, source: Path | None, labels: Labels, how: Run, *, as_json: bool) -> bool:
    """Tune, keep and print; tell whether anything is better than the untuned bi-encoder alone."""
    _check(files, source, how)
    with ExitStack() as opened:
        training, held_out = labels.rows(labels.data), labels.rows(labels.held_out)
        if source is None:
            embeddings = opened.enter_context(PooledEmbeddings(how.model))
            documents = list(_read(files, embeddings))
        else:
            embeddings = opened.enter_context(_model_of(source, how.model))
            documents = _stored(source)
        training = of_chunks(training, documents)
        held_out = of_chunks(held_out, documents, beir_split="test")
        result = tune(
            documents,
            training,
            held_out=held_out,
            embeddings=embeddings,
            reranker=how.start,
            output_dir=how.output,
            minutes=how.minutes,
            steps=how.steps,
            seed=how.seed,
            resume=how.resume,
            show_progress=sys.stderr.isatty(),
        )
    better = _better(result.report)
    if as_json:
        print_json({"bundle": str(how.output), "better": better, **result.report.to_dict()})
        return better
    print_text(str(result.report))
    place = printable(str(how.output))
    say(f'The bundle is in {place}. Ask it: langchain-rerank search {place} "..."')
    return better


def _check(files: Files, source: Path | None, how: Run) -> None:
    if bool(files.paths) == (source is not None):
        raise InvalidArgumentError(
            "Expected documents before the training data, or --bundle FOLDER with documents in it; "
            + ("got neither." if source is None else "got both.")
        )
    if source is None and how.model is None:
        raise InvalidArgumentError("Name the bi-encoder to start from: --model NAME.")
    bundle.check_target(how.output.resolve())


def _read(files: Files, embeddings: PooledEmbeddings) -> Iterator[Document]:
    _, reading = files.found()
    yield from files.chunking.of(_unlike(reading), embeddings)
    tell_bad(reading)


def _unlike(records: Iterable[Record]) -> Iterator[Record]:
    """Leave out records without ids of their own that say what an earlier one of their file says.

    Else the same answer to two questions would be two documents, and each question's the wrong one for the other.
    """
    texts: set[tuple[str, str]] = set()
    for record in records:
        text = (record.source.name, record.text)
        if record.named or text not in texts:
            texts.add(text)
            yield record


def _stored(source: Path) -> list[Document]:
    store = open_store(source, read_only=True)
    if store is None:
        raise InvalidArgumentError(
            f"{source} recalls from a store that it does not hold; expected a bundle with one."
        )
    with store:
        return list(store.documents())


def _model_of(source: Path, name: str | None) -> PooledEmbeddings:
    """Open the named model, or that of the bundle."""
    if name is not None:
        return PooledEmbeddings(name)
    part = bundle.read_manifest(source.resolve())["embeddings"]
    try:
        return SavedModel.from_dict(part, pairs=False).load_embeddings(
            folder_of(source.resolve(), part, "embeddings")
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise FormatError(f"{source} is damaged: {error!r} in it. Save the bundle anew.") from error


def _better(report: TuningReport) -> bool:
    at_chance = report.signal is not None and not report.signal["ok"]
    return report.chosen != BASE and not at_chance

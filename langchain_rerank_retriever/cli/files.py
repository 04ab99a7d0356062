"""What `index` and `tune` read of the user's files, and how they cut it."""

import codecs
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from langchain_core.documents import Document

from langchain_rerank_retriever.cli.documents.chunks import Cutting, Splitter, check_installed, documents_of
from langchain_rerank_retriever.cli.documents.reading import Reading
from langchain_rerank_retriever.cli.documents.records import Columns, Record
from langchain_rerank_retriever.cli.documents.sources import Found, find_sources
from langchain_rerank_retriever.cli.output import printable, say
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.errors import InvalidArgumentError

#: Bad lines that are told one by one.
TOLD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """How texts are cut; None leaves the sizes to the model. Rows of tables are cut only where a size is given."""

    size: int | None
    overlap: int | None
    wanted: bool

    def check(self, found: Found) -> None:
        """Refuse options that do not go together, and cutting that cannot be done here."""
        if not self.wanted and (self.size is not None or self.overlap is not None):
            raise InvalidArgumentError("Expected --no-chunks or sizes of chunks, got both.")
        if self.wanted and (self.size is not None or any(source.is_text for source in found.sources)):
            check_installed()

    def of(self, records: Iterable[Record], embeddings: PooledEmbeddings) -> Iterator[Document]:
        """Yield the documents of some records; the model says what a token is."""
        splitter: Cutting | None = None
        for record in records:
            cut = self.wanted and (self.size is not None or record.source.is_text)
            if cut and splitter is None:
                splitter = Splitter(embeddings, self.size, self.overlap)
            yield from documents_of(record, splitter if cut else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What is read, and how."""

    paths: Sequence[Path]
    columns: Columns
    encoding: str
    skip_bad: bool
    chunking: Chunking

    def found(self) -> tuple[Found, Reading]:
        """Find the files; nothing is read yet."""
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise InvalidArgumentError(f"--encoding {self.encoding!r} is not known.") from error
        found = find_sources(self.paths)
        self.chunking.check(found)
        reading = Reading(
            found.sources,
            self.columns,
            encoding=self.encoding,
            skip_bad=self.skip_bad,
            whole_rows=self.chunking.size is None,
        )
        return found, reading


def tell_bad(reading: Reading) -> None:
    """Say on standard error what is skipped."""
    for problem in reading.bad[:TOLD]:
        say(f"langchain-rerank: skipped: {printable(problem)}", err=True)
    if len(reading.bad) > TOLD:
        say(f"langchain-rerank: skipped: {len(reading.bad) - TOLD} more", err=True)

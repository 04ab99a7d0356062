"""Texts cut into chunks that a model reads whole, by LangChain's splitter."""

from collections.abc import Iterator
from typing import Any, Protocol

from langchain_core.documents import Document

from langchain_rerank_retriever.cli.documents.records import CHUNK, PARENT, Record
from langchain_rerank_retriever.cli.documents.sources import MARKDOWN
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.errors import InvalidArgumentError, brought_by
from langchain_rerank_retriever.runtime.reading.rows import call_tokenizer

#: Tokens of a chunk where the model reads as many: some paragraphs, about one thing.
USUAL_SIZE = 256
#: Which part of a chunk the next one repeats, where `--chunk-overlap` does not say.
USUAL_OVERLAP = 8

#: Where a text is cut, the first that is in it: paragraphs, lines, sentences of Latin or Korean and of Chinese or
#: Japanese script, words, and anywhere.
_SEPARATORS = [r"\n\s*\n", r"\n", r"(?<=[.!?…])\s+", r"(?<=[。！？])", r"\s+", ""]
_HEADINGS = [r"\n#{1,2} ", r"\n#{3,6} "]


class Cutting(Protocol):
    """How texts are cut."""

    def pieces(self, text: str, *, markdown: bool) -> list[str]:
        """Cut a text."""
        ...


class Splitter:
    """Cuts by tokens of the model that reads the chunks.

    Args:
        embeddings: The model.
        size: Most tokens of a chunk; None for what the model reads, at most 256.
        overlap: Tokens that the next chunk repeats; None for an eighth.

    Raises:
        InvalidArgumentError: If the sizes do not fit the model, or each other.
        MissingExtraError: If the splitter is not installed.
    """

    def __init__(self, embeddings: PooledEmbeddings, size: int | None, overlap: int | None) -> None:
        self._tokenizer: Any = embeddings.load_trainable()[0].tokenizer
        limit = embeddings.max_seq_length
        room = None if limit is None else max(1, limit - self._tokens(""))
        if size is not None and room is not None and size > room:
            raise InvalidArgumentError(
                f"--chunk-size {size} is more than the {room} tokens that the model reads."
            )
        size = size or min(USUAL_SIZE, room or USUAL_SIZE)
        overlap = size // USUAL_OVERLAP if overlap is None else overlap
        if overlap >= size:
            raise InvalidArgumentError(
                f"--chunk-overlap must be below the size of a chunk, {size}, got {overlap}."
            )
        self._special = self._tokens("")
        self._plain = self._made(_SEPARATORS, size, overlap)
        self._markdown = self._made([*_HEADINGS, *_SEPARATORS], size, overlap)

    def pieces(self, text: str, *, markdown: bool) -> list[str]:
        """Cut a text; headings of Markdown begin a chunk."""
        splitter = self._markdown if markdown else self._plain
        return list(splitter.split_text(text))

    def _made(self, separators: list[str], size: int, overlap: int) -> Any:
        check_installed()
        from langchain_text_splitters import RecursiveCharacterTextSplitter

        return RecursiveCharacterTextSplitter(
            separators=separators,
            is_separator_regex=True,
            chunk_size=size,
            chunk_overlap=overlap,
            length_function=lambda text: self._tokens(text) - self._special,
        )

    def _tokens(self, text: str) -> int:
        if callable(self._tokenizer):
            return len(call_tokenizer(self._tokenizer, [text], truncation=False)["input_ids"][0])
        return len(self._tokenizer.encode(text).ids)


def check_installed() -> None:
    """Refuse to cut where the splitter is not installed.

    Raises:
        MissingExtraError: Naming the command that installs it.
    """
    with brought_by("files", "langchain-text-splitters"):
        import langchain_text_splitters  # noqa: F401 - whether it is there


def documents_of(record: Record, splitter: Cutting | None) -> Iterator[Document]:
    """Yield a record as one document, or its chunks where there is a splitter."""
    if splitter is None:
        yield Document(id=record.id, page_content=record.text, metadata=record.metadata)
        return
    pieces = splitter.pieces(record.text, markdown=record.source.kind in MARKDOWN)
    for number, piece in enumerate(pieces, start=1):
        metadata = record.metadata | {PARENT: record.id, CHUNK: number}
        yield Document(id=f"{record.id}#{number}", page_content=piece, metadata=metadata)

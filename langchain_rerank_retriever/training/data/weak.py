"""Queries out of the documents themselves, without a language model: the title asks for the text below it."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from langchain_core.documents import Document

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.training.data.corpus import corpus_of
from langchain_rerank_retriever.training.data.rows import checked_text, normalised
from langchain_rerank_retriever.training.data.sentences import sentences

#: Metadata of which the values are headings, from the document's to the section's; `Header 1` and so on is what
#: LangChain's MarkdownHeaderTextSplitter writes.
_HEADING_KEYS = ("title", *(f"Header {level}" for level in range(1, 7)), "heading")

#: A heading is not longer than this; what is longer is text.
_LONGEST_HEADING = 120

_MARKDOWN = re.compile(r"#{1,6}\s+(.*?)\s*#*")
_UNDERLINE = re.compile(r"(=+|-{3,})")
_SENTENCE_END = tuple(".!?。！？…,;:，；：、")


@dataclass(frozen=True, slots=True)
class WeakPairs:
    """Queries that documents gave about themselves.

    Attributes:
        rows: `{"query": ..., "document_id": ...}`, in the order of the documents, at most one a document; what
            `read_training_data` takes. A title of several documents is one query with all of them.
        bodies: Document id to its text without the query, for every document in `rows`.
        skipped: Ids of the documents that no query could be made of.
        rest: How many more rows there are than `limit` let through.
    """

    rows: list[dict[str, str]]
    bodies: Mapping[str, str]
    skipped: Sequence[str]
    rest: int


def weak_pairs(documents: Iterable[Document], *, limit: int | None = None, seed: int = 0) -> WeakPairs:
    """Make training rows of documents alone: a title or heading, else the first sentence, asks for the rest.

    The first of these that a document has is its query:

    1. The headings in its metadata: `title`, `Header 1` to `Header 6`, `heading`, joined by ": ".
    2. A heading as its first line: a Markdown heading; or a line of at most 120 characters that does not end like a
       sentence, above an empty line or a line more than twice as long (the first line of wrapped text is neither).
    3. Its first sentence, see `sentences`.

    The body is what remains without that heading or sentence, wherever it stands as a whole line or sentence. Words
    of a title inside a sentence of the body stay. A document with no query or nothing else to say is skipped.

    Args:
        documents: Each with an id; they are not changed.
        limit: Return at most so many rows, drawn from all; None returns all.
        seed: Of the draw.

    Raises:
        DataError: If there are no documents, an id is missing or not unique, all texts are the same, or a text holds
            a lone surrogate.
        InvalidArgumentError: If `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise InvalidArgumentError(f"limit must be at least 1 or None, got {limit}.")
    made, skipped = [], []
    for key, document in corpus_of(documents).items():
        query, body = _query_and_body(key, document)
        if query and body:
            made.append((key, query, body))
        else:
            skipped.append(key)
    kept = made
    if limit is not None and limit < len(made):
        places = np.random.default_rng(seed).choice(len(made), limit, replace=False)
        kept = [made[place] for place in sorted(places)]
    spelling: dict[str, str] = {}
    return WeakPairs(
        [
            {"query": spelling.setdefault(normalised(query), query), "document_id": key}
            for key, query, _ in kept
        ],
        {key: body for key, _, body in kept},
        skipped,
        len(made) - len(kept),
    )


def _query_and_body(key: str, document: Document) -> tuple[str, str]:
    text = document.page_content
    if not text.strip():
        return "", ""
    checked_text(f"document {key!r}", "page_content", text)
    headings = _metadata_headings(key, document)
    if headings:
        return ": ".join(headings), _without_lines(
            text, {normalised(one) for one in (*headings, ": ".join(headings))}
        )
    lines = text.strip().splitlines()
    heading = _first_line_heading(lines)
    if heading:
        return heading, _without_lines(text, {normalised(heading)})
    # A line is a sentence of its own only where a stop or an empty line ends it.
    parts = sentences(text)
    query = next((part for part in parts if _has_letter(part)), "")
    body = " ".join(part for part in parts if normalised(part) != normalised(query))
    return " ".join(query.split()), body if _has_letter(body) else ""


def _metadata_headings(key: str, document: Document) -> list[str]:
    found: dict[str, str] = {}
    for name in _HEADING_KEYS:
        value = document.metadata.get(name)
        if isinstance(value, str) and _has_letter(value) and len(value) <= _LONGEST_HEADING:
            checked_text(f"document {key!r}", f"metadata[{name!r}]", value)
            found.setdefault(normalised(value), " ".join(value.split()))
    return list(found.values())


def _first_line_heading(lines: Sequence[str]) -> str:
    first = lines[0].strip()
    after = lines[1].strip() if len(lines) > 1 else ""
    markdown = _MARKDOWN.fullmatch(first)
    plain = first if markdown is None else markdown.group(1)
    if not _has_letter(plain) or len(plain) > _LONGEST_HEADING or len(lines) == 1:
        return ""
    stands_alone = not after or _UNDERLINE.fullmatch(after) or len(after) > 2 * len(plain)
    if markdown or (stands_alone and not plain.endswith(_SENTENCE_END)):
        return " ".join(plain.split())
    return ""


def _without_lines(text: str, headings: set[str]) -> str:
    """Return the text without the lines that are one of the headings, and without Markdown's lines below those."""

    def kept() -> Iterator[str]:
        below_heading = False
        for line in text.splitlines():
            markdown = _MARKDOWN.fullmatch(line.strip())
            is_heading = normalised(line if markdown is None else markdown.group(1)) in headings
            if not is_heading and not (below_heading and _UNDERLINE.fullmatch(line.strip())):
                yield line
            below_heading = is_heading

    body = "\n".join(kept()).strip()
    return body if _has_letter(body) else ""


def _has_letter(text: str) -> bool:
    return any(character.isalpha() for character in text)

"""What the cross-encoder of a bundle is calibrated with for int8: the bundle's own documents."""

from collections.abc import Iterable
from itertools import islice

from langchain_core.documents import Document

#: Documents whose beginnings are queries. With two passages each they are as many pairs as are taken of Python's
#: documentation, and every further one makes the first opening longer.
_QUERIES = 64
#: With fewer documents there are fewer pairs than a calibration needs.
_FEWEST = 16
#: So that a large store is not read as a whole.
_READ = 8192

#: A question has about so many words; without blanks between them, no more characters than so.
_WORDS, _CHARACTERS = 12, 100
#: Characters of a passage: more than most models read, and not the whole of a book.
_PASSAGE = 2000


def calibration_pairs(documents: Iterable[Document]) -> list[tuple[str, str]] | None:
    """Make (query, passage) pairs of a store's documents, in its order.

    A query is the beginning of a document. Its passages are that document and the next one, which often is of the same
    source, so that passages that fit and passages that do not are scored, as among the candidates of a query.

    Returns:
        At most 128 pairs; None of fewer than 16 documents with text, which are too few to calibrate with. The same for
        the same documents. Documents that are added later change nothing before the store has grown to twice as many,
        and nothing from 8,192 on, so that a live bundle is not calibrated anew whenever it is opened.
    """
    read = islice(documents, _READ)
    texts = [text for document in read if (text := document.page_content.strip())]
    if len(texts) < _FEWEST:
        return None
    count = 1 << (len(texts).bit_length() - 1)  # the greatest power of two that is not above it
    places = range(0, count, max(1, count // _QUERIES))
    return [
        (_beginning(texts[place]), texts[passage % count][:_PASSAGE])
        for place in places
        for passage in (place, place + 1)
    ]


def _beginning(text: str) -> str:
    return " ".join(text.split(maxsplit=_WORDS)[:_WORDS])[:_CHARACTERS]

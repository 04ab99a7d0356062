"""Queries for a store whose users' queries are not known."""

import random
import re
from collections.abc import Iterable, Sequence
from itertools import islice

from langchain_core.documents import Document

#: Drawn from so many documents at most, so that a large store is not read as a whole.
_READ = 10_000
#: A question has about twelve words, and a longer query makes every pair longer.
_MOST_WORDS = 16

_SENTENCE_END = re.compile(r"(?<=[.!?。])\s+")


def draw_documents(documents: Iterable[Document], *, seed: int = 0) -> list[Document]:
    """Return the first 10,000 documents in random order, without those that are blank; always the same for a seed."""
    drawn = [document for document in islice(documents, _READ) if document.page_content.strip()]
    random.Random(seed).shuffle(drawn)  # noqa: S311 - a sample, not a secret
    return drawn


def queries_from(documents: Sequence[Document], count: int) -> list[str]:
    """Take the first sentences of documents as queries: what one asks for is often a title, or what it begins with.

    Returns:
        Different texts, none blank, in the order of the documents; fewer than `count` where there are no more.
    """
    sentences = dict.fromkeys(first_sentence(document.page_content) for document in documents)
    return list(islice((sentence for sentence in sentences if sentence), count))


def first_sentence(text: str) -> str:
    """Return the first sentence of a text's first line that is not blank, at most 16 words of it."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    sentence = _SENTENCE_END.split(line.strip(), maxsplit=1)[0]
    return " ".join(sentence.split()[:_MOST_WORDS])

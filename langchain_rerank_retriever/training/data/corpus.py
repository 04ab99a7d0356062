"""The documents of a tuning run: checked, by id."""

from collections.abc import Iterable

from langchain_core.documents import Document

from langchain_rerank_retriever.errors import DataError


def corpus_of(documents: Iterable[Document], *, may_be_empty: bool = False) -> dict[str, Document]:
    """Return the documents by id.

    Raises:
        DataError: If there are none, an id is missing or not unique, or all of several have the same text.
    """
    corpus: dict[str, Document] = {}
    for place, document in enumerate(documents):
        if not isinstance(document, Document):
            raise DataError(
                f"document {place}: expected a LangChain Document, got {type(document).__name__}."
            )
        if not document.id:
            raise DataError(
                f"document {place} has no id; training data name documents by id. "
                "Give each one: Document(id=..., page_content=...)."
            )
        if document.id in corpus:
            raise DataError(f"document {place}: the id {document.id!r} is there twice. Ids must be unique.")
        corpus[document.id] = document
    if not corpus and not may_be_empty:
        raise DataError("There are no documents; expected at least one.")
    if len(corpus) > 1 and len({document.page_content for document in corpus.values()}) == 1:
        raise DataError(
            f"All {len(corpus)} documents have the same text, so that no ranking of them is better than another. "
            "Expected different texts; check how they were read."
        )
    return corpus

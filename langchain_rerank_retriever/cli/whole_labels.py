"""Labels that name what was cut into chunks: what they become where only the chunks are documents."""

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.documents import Document

from langchain_rerank_retriever.cli.documents.records import PARENT
from langchain_rerank_retriever.cli.output import say
from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.training.data.files import rows_of

#: Of more chunks than these, most say something else than what the query asks for, and would be learned as answers.
MOST_CHUNKS = 8


def of_chunks(data: Any, documents: Iterable[Document], *, beir_split: str = "train") -> Any:
    """Let a label of a whole be one of each of its chunks; as with `--collapse`, any of them answers the query.

    Args:
        data: Training data as `tune` takes them.
        documents: What they are about; a chunk names its whole in the metadata.
        beir_split: Which qrels of a BEIR folder.

    Returns:
        The same data where no label names a whole; else their rows.

    Raises:
        DataError: If a label names a whole of too many chunks.
    """
    chunks: dict[str, list[str]] = {}
    ids: set[str] = set()
    for document in documents:
        ids.add(str(document.id))
        if isinstance(whole := document.metadata.get(PARENT), str):
            chunks.setdefault(whole, []).append(str(document.id))
    cut = {whole: names for whole, names in chunks.items() if whole not in ids}
    if data is None or not cut:
        return data
    rows = list(rows_of(data, beir_split=beir_split))
    named = sum(row.get("document_id") in cut for _, row in rows)
    if not named:
        return data
    told = "label names a document that was" if named == 1 else "labels name documents that were"
    say(f"langchain-rerank: {named} {told} cut; each chunk is an answer", err=True)
    return [one for place, row in rows for one in _each(place, row, cut)]


def _each(place: str, row: Mapping[str, Any], cut: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    names = cut.get(row.get("document_id", ""))
    if names is None:
        return [dict(row)]
    if len(names) > MOST_CHUNKS:
        raise DataError(
            f"{place}: document_id {row['document_id']!r} was cut into {len(names)} chunks, and only some of them can "
            f"be the answer. Name the chunk ({names[0]!r} to {names[-1]!r}), or give larger chunks, or --no-chunks."
        )
    return [{**row, "document_id": name} for name in names]

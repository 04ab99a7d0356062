"""Reads a data set in BEIR's form: `corpus.jsonl`, `queries.jsonl`, `qrels/train.tsv`, `qrels/test.tsv`."""

import csv
import json
from pathlib import Path

from langchain_core.documents import Document

DATA = Path(__file__).parents[3] / "shared" / "data"


def documents(folder: Path) -> list[Document]:
    """Title and text of every document, one below the other."""
    found = []
    with (folder / "corpus.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            text = "\n".join(part for part in (row.get("title"), row["text"]) if part)
            found.append(Document(id=str(row.get("_id", row.get("id"))), page_content=text))
    return found


def queries(folder: Path) -> dict[str, str]:
    """Query id to text."""
    with (folder / "queries.jsonl").open(encoding="utf-8") as lines:
        return {str(row.get("_id", row.get("id"))): row["text"] for row in map(json.loads, lines)}


def qrels(folder: Path, split: str) -> dict[str, dict[str, int]]:
    """Query id to {document id: relevance}."""
    found: dict[str, dict[str, int]] = {}
    with (folder / "qrels" / f"{split}.tsv").open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t")
        next(rows)  # the header
        for query_id, document_id, relevance in rows:
            found.setdefault(query_id, {})[document_id] = int(float(relevance))
    return found

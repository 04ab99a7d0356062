"""`langchain-rerank search`."""

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.answering.options import checked
from langchain_rerank_retriever.bundled_model import Placed
from langchain_rerank_retriever.cli.opening import opened_bundle
from langchain_rerank_retriever.cli.output import as_data, print_documents, print_json, print_table
from langchain_rerank_retriever.protocols import ExplainedCandidate, Explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How it is searched; None for the bundle's own setting."""

    k: int
    fetch_k: int | None
    recall_mode: Any
    collapse: str | None


def run(bundle: Path, query: str, asked: Asked, placed: Placed, *, explain: bool, as_json: bool) -> None:
    """Search a bundle and print what it returns."""
    checked("recall_mode", asked.recall_mode)  # before models are loaded
    with ExitStack() as opened:
        explanation = opened_bundle(bundle, opened, placed).explain(query, **asdict(asked))
    if as_json:
        print_json(_data(explanation, explain=explain))
        return
    print_documents(explanation.documents)
    if explain:
        _print_candidates(explanation)


def _data(explanation: Explanation, *, explain: bool) -> dict[str, Any]:
    data: dict[str, Any] = {
        "query": explanation.query,
        "documents": as_data(explanation.documents),
        "seconds": dict(explanation.seconds),
    }
    if explain:
        data["candidates"] = [_row(candidate) for candidate in explanation.candidates]
    return data


def _row(candidate: ExplainedCandidate) -> dict[str, Any]:
    names = (
        "rank",
        "recall_rank",
        "recall_score",
        "dense_score",
        "lexical_score",
        "rerank_score",
        "blended_score",
        "relevance_score",
        "truncated",
        "unscored",
        "outcome",
        "dropped_by",
    )
    return {"id": candidate.document.id} | {name: getattr(candidate, name) for name in names}


def _print_candidates(explanation: Explanation) -> None:
    header = ["document", "rank", "recalled", "dense", "lexical", "re-ranked", "relevance", "outcome"]
    rows = [_cells(one) for one in explanation.candidates]
    if explanation.truncated is not None:
        # Whether the cross-encoder read only the beginning.
        header.append("cut")
        for row, one in zip(rows, explanation.candidates, strict=True):
            row.append({None: "-", False: "no", True: "yes"}[one.truncated])
    print_table(
        header,
        rows,
        title=", ".join(f"{stage} {1000 * taken:.0f} ms" for stage, taken in explanation.seconds.items()),
    )


def _cells(one: ExplainedCandidate) -> list[str]:
    scores = (one.dense_score, one.lexical_score, one.rerank_score, one.relevance_score)
    return [
        str(one.document.id),
        str(one.rank),
        str(one.recall_rank),
        *map(_number, scores),
        one.outcome.replace("_", " ") + ("" if one.dropped_by is None else f" {one.dropped_by}"),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

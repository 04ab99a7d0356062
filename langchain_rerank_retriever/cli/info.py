"""`langchain-rerank info`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from langchain_rerank_retriever import bundle
from langchain_rerank_retriever.cli.output import print_json, printable
from langchain_rerank_retriever.errors import FormatError


def run(folder: Path, *, as_json: bool) -> None:
    """Print what a bundle's manifest says; no model is loaded."""
    manifest = bundle.read_manifest(folder.resolve())
    if as_json:
        print_json(manifest)
        return
    try:
        lines = list(_lines(manifest))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{folder / bundle.MANIFEST} is damaged: {error!r} in it. Save the bundle anew."
        ) from error
    for name, value in lines:
        typer.echo(f"{printable(name):<12}{printable(value)}")


def _lines(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for part in ("recall", "embeddings", "reranker"):
        yield part, _part(manifest[part])
    yield from _truncation(manifest)
    for name, value in manifest["settings"].items():
        if value is not None and value is not False:  # what is not set
            yield name, str(value)
    for variant in (manifest["blend"] or {"variants": []})["variants"]:
        yield "blend", ", ".join(f"{name} {weight:.2f}" for name, weight in variant["weights"].items())
    report = manifest["report"]
    if report is not None:
        yield "report", f"{report['held_out_queries']} held-out queries. {report['verdict']}"


def _truncation(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Say how much the models read of long texts, as far as that is known."""
    reranker = manifest["reranker"]
    if reranker is not None and reranker.get("max_length") is not None:
        rest = "all, in windows," if reranker["long_documents"] == "max" else "the beginning"
        yield "long pairs", f"of more than {reranker['max_length']:,} tokens, {rest} is read"
    # Reports of other makers, of scored pairs and of earlier versions lack the card.
    card = (manifest["report"] or {}).get("data_card") or {}
    cut = card.get("truncation")
    if cut is not None:
        share = 100 * cut["documents"] / max(1, card["documents"])
        yield (
            "truncation",
            f"{cut['documents']:,} of {card['documents']:,} documents ({share:.0f} %) are longer than the "
            f"{cut['limit']:,} tokens that training reads; median {cut['median']:,}, longest {cut['longest']:,}",
        )


def _part(part: dict[str, Any] | None) -> str:
    if part is None:
        return "none"
    return f"{part['folder']}/" if "folder" in part else f"not in the bundle: {part['foreign']}"

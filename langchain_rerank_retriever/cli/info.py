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
    for name, value in manifest["settings"].items():
        if value is not None:
            yield name, str(value)
    for variant in (manifest["blend"] or {"variants": []})["variants"]:
        yield "blend", ", ".join(f"{name} {weight:.2f}" for name, weight in variant["weights"].items())
    report = manifest["report"]
    if report is not None:
        yield "report", f"{report['held_out_queries']} held-out queries. {report['verdict']}"


def _part(part: dict[str, Any] | None) -> str:
    if part is None:
        return "none"
    return f"{part['folder']}/" if "folder" in part else f"not in the bundle: {part['foreign']}"

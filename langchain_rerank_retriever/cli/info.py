"""`langchain-rerank info`."""

from pathlib import Path
from typing import Any

import typer

from langchain_rerank_retriever import bundle
from langchain_rerank_retriever.cli.output import print_json


def run(folder: Path, *, as_json: bool) -> None:
    """Print what a bundle's manifest says; no model is loaded."""
    manifest = bundle.read_manifest(folder.resolve())
    if as_json:
        print_json(manifest)
        return
    for part in ("recall", "embeddings", "reranker"):
        typer.echo(f"{part:<12}{_part(manifest[part])}")
    for name, value in manifest["settings"].items():
        if value is not None:
            typer.echo(f"{name:<12}{value}")
    for variant in (manifest["blend"] or {"variants": []})["variants"]:
        weights = ", ".join(f"{name} {weight:.2f}" for name, weight in variant["weights"].items())
        typer.echo(f"{'blend':<12}{weights}")
    report = manifest["report"]
    if report is not None:
        typer.echo(f"{'report':<12}{report['held_out_queries']} held-out queries. {report['verdict']}")


def _part(part: dict[str, Any] | None) -> str:
    if part is None:
        return "none"
    return f"{part['folder']}/" if "folder" in part else f"not in the bundle: {part['foreign']}"

"""`langchain-rerank info`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langchain_rerank_retriever import bundle
from langchain_rerank_retriever.bundle_folder import MANIFEST, is_part
from langchain_rerank_retriever.bundled_reranker import entries_of
from langchain_rerank_retriever.cli.bundled_store import open_store
from langchain_rerank_retriever.cli.contents import Contents, size_of
from langchain_rerank_retriever.cli.output import print_facts, print_json
from langchain_rerank_retriever.errors import FormatError, RerankError
from langchain_rerank_retriever.store import IndexInfo


def run(folder: Path, *, as_json: bool) -> None:
    """Print what a bundle's manifest says, and how its store searches; no model is loaded."""
    manifest = bundle.read_manifest(folder.resolve())
    try:
        lines = list(_lines(folder, manifest))
        contents = _contents(folder)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{folder / MANIFEST} is damaged: {error!r} in it. Save the bundle anew."
        ) from error
    if as_json:
        print_json({**manifest, "index": contents.to_dict() if isinstance(contents, Contents) else contents})
        return
    print_facts([*lines, *_store(contents)])


def _contents(folder: Path) -> Contents | dict[str, str] | None:
    """Ask the store; what is wrong where it cannot be read, None where there is none in the bundle."""
    try:
        store = open_store(folder, read_only=True)
        if store is None:
            return None
        with store:
            return Contents.of(store)
    except RerankError as error:
        return {"problem": str(error)}


def _store(contents: Contents | dict[str, str] | None) -> Iterator[tuple[str, str]]:
    """Say in words what the store holds, and how it searches."""
    if isinstance(contents, Contents):
        yield from contents.lines()
        yield from _search(contents.index)
    elif contents is not None:
        yield "search", f"the store cannot be read: {contents['problem']}"


def _search(index: IndexInfo) -> Iterator[tuple[str, str]]:
    """Say in words how the store searches."""
    if index.kind == "flat":
        later = (
            ""
            if index.setting == "flat"
            else f'; index="{index.setting}" makes a graph once there are enough'
        )
        yield "search", f"exact, over {index.rows:,} documents{later}"
    else:
        rest = index.rows - index.graph_rows
        others = f"; the other {rest:,} exactly" if rest else ""
        found = (
            ""
            if index.recall is None
            else f", which found {100 * index.recall:.1f} % of the 100 nearest when made"
        )
        yield "search", f"an HNSW graph over {index.graph_rows:,} documents{found} (ef {index.ef}){others}"
    place = "stay in a file, which searches read" if index.mapped else "are read into memory"
    source = "from the database" if index.snapshot is None else f"from the snapshot {index.snapshot}"
    behind = f", {index.changes:,} changes behind" if index.snapshot is not None and index.changes else ""
    yield "vectors", f"{place}, {source}{behind}"


def _lines(folder: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for part in ("recall", "embeddings", "reranker"):
        yield part, _part(manifest[part])
    sizes = _sizes(folder, manifest)
    if sizes:
        yield "models", sizes
    yield from _truncation(manifest)
    for name, value in manifest["settings"].items():
        if value is not None and value is not False:  # what is not set
            yield name, str(value)
    for variant in (manifest["blend"] or {"variants": []})["variants"]:
        yield "blend", ", ".join(f"{name} {weight:.2f}" for name, weight in variant["weights"].items())
    yield from _report(manifest["report"])


def _report(report: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Say what the last tuning found; bundles that index made have none."""
    if report is None:
        return
    calibration = report.get("calibration")
    if calibration is not None:
        most = calibration["thresholds"]["0.95"]
        yield (
            "calibration",
            f"ECE {calibration['ece']:.3f} over {calibration['queries']} queries; "
            f"score_threshold={most['threshold']:.2g} keeps 95 % of the relevant candidates and drops "
            f"{100 * most['dropped']:.0f} % of all",
        )
    for system in report.get("systems", ()):
        measures = system["measures"]
        # The two of a screen: the order of the best, and what is found at all. Scored pairs have others.
        names = [name for name in ("nDCG@10", "R@100") if name in measures] or list(measures)[:2]
        measured = ", ".join(f"{name} {measures[name]:.3f}" for name in names)
        served = " (served)" if system["name"] == report.get("chosen") else ""
        yield "tried", f"{system['name']}{served}: {measured}"
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
    if "stages" in part:
        return ", then ".join(map(_part, part["stages"]))
    leaves = f", of which {part['top_n']} are left" if "top_n" in part else ""
    return f"{part['folder']}/{leaves}" if "folder" in part else f"not in the bundle: {part['foreign']}"


def _sizes(folder: Path, manifest: dict[str, Any]) -> str:
    entries = [entry for part in ("embeddings", "reranker") for entry in entries_of(manifest[part])]
    # A forged name could lead to another's files.
    names = [str(entry["folder"]) for entry in entries if is_part(folder, entry["folder"])]
    sizes = {name: size_of(folder / name) for name in names}
    return "; ".join(f"{name}/ is {size}" for name, size in sizes.items() if size is not None)

"""`langchain-rerank repair`."""

from pathlib import Path

from langchain_rerank_retriever.bundle_folder import MANIFEST
from langchain_rerank_retriever.cli.bundled_store import open_store
from langchain_rerank_retriever.cli.output import print_json, printable, say
from langchain_rerank_retriever.errors import StorageError
from langchain_rerank_retriever.runtime.choosing import derived
from langchain_rerank_retriever.store import RepairResult


def run(folder: Path, *, as_json: bool) -> bool:
    """Make anew what is derived and wrong, in a bundle and in the cache of models; tell whether all is well."""
    result = _of_store(folder)
    repaired = list(result.repaired)
    removed = derived.remove_damaged()
    if removed:
        repaired.append(
            f"{removed} of the models compiled on this machine, which are made again when they are needed"
        )
    if as_json:
        print_json({"ok": result.ok, "repaired": repaired, "problems": list(result.problems)})
        return result.ok
    lines = [f"repaired: {what}" for what in repaired] + list(result.problems)
    say("\n".join(map(printable, lines)) if lines else f"{folder} needs no repair.")
    return result.ok


def _of_store(folder: Path) -> RepairResult:
    try:
        store = open_store(folder, read_only=False)
    except StorageError as error:
        if not (folder / MANIFEST).is_file():
            raise  # Not a bundle at all is a mistake of the user's.
        return RepairResult(False, (), (str(error),))
    if store is None:
        return RepairResult(True, (), ())
    with store:
        return store.repair()

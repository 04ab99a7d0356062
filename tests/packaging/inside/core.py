"""Without any extra: the quick start, a bundle there and back, the commands, and every module of the package."""

import json
import pkgutil
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from langchain_core.documents import Document
from made import bundle, check, command, model

import langchain_rerank_retriever as package
from langchain_rerank_retriever import PooledEmbeddings, RerankRetriever

#: The modules that are imported only where their extra is.
OF_EXTRAS = {"langchain_rerank_retriever.evaluation.plots.picture"}


def check_modules() -> None:
    """Import everything."""
    names = {found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")}
    check(len(names) > 200, names)
    failed = set()
    for name in names:
        try:
            import_module(name)
        except ModuleNotFoundError:
            failed.add(name)
    check(failed == OF_EXTRAS, failed)


def check_library(folder: Path) -> Path:
    """Save, load, add, ask."""
    saved = bundle(folder / "bundle", PooledEmbeddings(model(folder)))
    opened = RerankRetriever.load_local(saved)
    opened.add_documents([Document(id="road", page_content="a long road to the red house")])
    found = opened.invoke("red road")
    check([document.id for document in found][:1] == ["road"], found)
    opened.recall.close()
    return saved


def check_command(saved: Path) -> None:
    """Ask the command the same."""
    said = command("--help")
    check(said.returncode == 0 and "search" in said.stdout, said)
    check(command("--version").stdout.strip() == package.__version__, package.__version__)
    for name in ("info", "verify"):
        said = command(name, saved, "--json")
        check(said.returncode == 0 and isinstance(json.loads(said.stdout), dict), said)
    said = command("search", saved, "red road", "--json")
    check(said.returncode == 0 and '"road"' in said.stdout, said)


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        check_modules()
        check_command(check_library(Path(place)))

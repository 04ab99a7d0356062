"""What pyproject.toml says of the package is true of its imports."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import langchain_rerank_retriever
from tests.packaging.__main__ import ALL, for_users
from tests.packaging.artefacts import ROOT, extras

PACKAGE = Path(langchain_rerank_retriever.__file__).parent

#: Where a package of an extra is imported, and which extra inside/missing.py must try there.
OPTIONAL = {
    "cli/bench.py": "demo",
    "cli/demo.py": "demo",
    "cli/documents/chunks.py": "files",
    "distributed/postgres.py": "postgres",
    "distributed/ray_cluster.py": "ray",
    "evaluation/html/pictures.py": "plots",
    "evaluation/plots/canvas.py": "plots",
    "evaluation/plots/curves.py": "plots",
    "evaluation/plots/labels.py": "plots",
    "evaluation/plots/picture.py": "plots",
    "evaluation/plots/similarity.py": "plots",
    "evaluation/plots/systems.py": "plots",
    "store/lexical/languages.py": "korean",
    "training/fit/adapters.py": "peft",
}

#: What is imported by a name in a string, which an analysis of imports does not see.
BY_NAME = {"benchmark/recipe.py": "bench", "runtime/backends/openvino_library.py": "openvino"}


def imports() -> Iterator[tuple[str, str]]:
    """Yield each file of the package with the top names that it imports."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for name in names:
                yield path.relative_to(PACKAGE).as_posix(), name.split(".")[0]


def canonical(requirement: str) -> str:
    """The name of a distribution as indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~ ;]", requirement)[0]).lower()


def declared() -> tuple[set[str], set[str]]:
    """The distributions of the plain install, and those of the extras for users."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = {canonical(one) for extra in for_users() for one in extras()[extra]}
    return {canonical(one) for one in project["dependencies"]}, optional


@cache
def installed() -> dict[str, list[str]]:
    """Which distributions bring each top name; slow, since the metadata of all that is installed are read."""
    return dict(packages_distributions())


def distributions(module: str) -> set[str]:
    """The distributions that bring a module; its own name where none is installed."""
    return {canonical(one) for one in installed().get(module, [module])}


def test_whatever_is_imported_is_declared() -> None:
    core, optional = declared()
    undeclared = {
        (path, module)
        for path, module in imports()
        if module not in sys.stdlib_module_names | {PACKAGE.name}
        and not distributions(module) & (core | optional)
    }
    assert undeclared == set()


def test_every_place_that_imports_what_may_be_missing_is_known() -> None:
    core, optional = declared()
    stdlib = sys.stdlib_module_names | {PACKAGE.name}
    found = {
        path
        for path, module in imports()
        if module not in stdlib and distributions(module) & optional and not distributions(module) & core
    }
    assert found == set(OPTIONAL)
    missing = (ROOT / "tests" / "packaging" / "inside" / "missing.py").read_text(encoding="utf-8")
    for extra in {*OPTIONAL.values(), *BY_NAME.values()}:
        assert re.search(rf'refused(_by_command)?\(\s*"{extra}"', missing), extra


def test_the_extra_all_brings_what_users_may_want() -> None:
    (itself,) = extras()[ALL]
    assert itself == f"langchain-rerank-retriever[{','.join(for_users())}]"

"""Builds the wheel and the source archive, and looks at what is in them."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

from langchain_rerank_retriever import __version__

ROOT = Path(__file__).parents[2]
PACKAGE = "langchain_rerank_retriever"

#: What the tests read besides themselves.
FOR_THE_TESTS = (
    "LICENSE",
    "README.md",
    "constraints.txt",
    "pyproject.toml",
    "tests/conftest.py",
    "examples/data/faq.csv",
)


class PackagingError(Exception):
    """Something is not fit to be released."""


def build(folder: Path) -> tuple[Path, Path]:
    """Build both into a folder, the wheel from the source archive as an index would have it, and check them.

    Returns:
        The wheel and the source archive.

    Raises:
        PackagingError: If something is missing in one of them, or too much.
        subprocess.CalledProcessError: If it cannot be built, or an index would refuse it.
    """
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, stdout=subprocess.DEVNULL
    )
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", wheel, archive], check=True)
    check_wheel(wheel)
    check_archive(archive)
    return wheel, archive


def extras() -> dict[str, list[str]]:
    """Read the extras, with what each brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return dict(project["optional-dependencies"])


def check_wheel(wheel: Path) -> None:
    """Check that a wheel holds every file of the package and nothing else, and says the package's version."""
    with zipfile.ZipFile(wheel) as opened:
        held = set(opened.namelist())
        about = next(name.split("/")[0] for name in held if ".dist-info/" in name)
        metadata = HeaderParser().parsestr(opened.read(f"{about}/METADATA").decode())
    files = {name for name in held if not name.startswith(f"{about}/")}
    _same("the wheel", files, files_of_package(ROOT))
    _needed(
        "the wheel",
        {name.removeprefix(f"{about}/") for name in held},
        ("licenses/LICENSE", "entry_points.txt"),
    )
    if metadata["Version"] != __version__:
        raise PackagingError(f"The wheel says version {metadata['Version']}, the package {__version__}.")


def check_archive(archive: Path) -> None:
    """Check that a source archive holds the package, and its tests with what they read."""
    with tarfile.open(archive) as opened:
        held = {name.split("/", 1)[1] for name in opened.getnames()}
    _same(
        "the source archive",
        {name for name in held if name.startswith(f"{PACKAGE}/")},
        files_of_package(ROOT),
    )
    tests = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")}
    _needed("the source archive", held, (*FOR_THE_TESTS, *sorted(tests)))


def files_of_package(root: Path) -> set[str]:
    """List the files of the package, relative to the folder that it lies in."""
    found = (root / PACKAGE).rglob("*")
    return {
        path.relative_to(root).as_posix()
        for path in found
        if path.is_file() and "__pycache__" not in path.parts
    }


def _same(where: str, held: set[str], expected: set[str]) -> None:
    if held != expected:
        raise PackagingError(
            f"In {where}: missing {sorted(expected - held)}, too much {sorted(held - expected)}."
        )


def _needed(where: str, held: set[str], names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in held]
    if missing:
        raise PackagingError(f"In {where}: missing {missing}.")

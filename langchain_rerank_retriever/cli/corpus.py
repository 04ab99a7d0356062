"""A real corpus that needs no download: the documentation of the Python packages that are installed.

The summary sentence of a docstring is a query, the rest of it is the document that answers it.

Packages are imported rather than parsed. Only that gives the names people call things by (`numpy.linalg.svd` is
written in `numpy/linalg/_linalg.py`), the docstrings of what is written in C (numpy's ufuncs, torch's operations) and
those that are put together at import time (pandas). Modules are found on disk, not among what happens to be loaded,
so that documents and queries are the same in every process.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import random
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from langchain_core.documents import Document

from langchain_rerank_retriever.errors import InvalidArgumentError

DEFAULT_PACKAGES = ("numpy", "scipy", "sklearn", "pandas", "torch")

#: What people call a package is not always what they import.
_IMPORT_NAMES = {"scikit-learn": "sklearn", "scikit_learn": "sklearn"}

#: Public names are rarely deeper than `torch.nn.functional`; what lies below is the inside of a package.
_DEPTH = 2

#: `core` is where numpy and pandas keep what they export elsewhere.
_SKIPPED_MODULES = frozenset({"conftest", "core", "setup", "test", "testing", "tests"})

#: What modules raise that need something which is not there: a package, a library, a display, a GPU.
_NOT_IMPORTABLE = (ImportError, AttributeError, OSError, RuntimeError)

_FEWEST_SUMMARY_WORDS = 4
_FEWEST_BODY_WORDS = 30

_BOILERPLATE = re.compile(
    r"(see\b|refer to\b|alias\b|an alias\b|deprecated\b|this (function|method|class) is deprecated|in-?place version"
    r"|out-of-place version|not implemented|internal\b|initialize self|return self\b|\.\. )",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(r"[\w.]+\(.*\)\s*(->.*)?", re.DOTALL)
_UNDERLINE = re.compile(r"^\s*([-=~^])\1{2,}\s*$", re.MULTILINE)
_ROLE = re.compile(r":[a-zA-Z:+-]+:`~?([^`<]*?)(?:\s*<[^>]*>)?`")
#: Docstrings that are put together at import time print objects, with an address that is new in every process.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!vs\.)(?<!cf\.)(?<!etc\.)\s+(?=[A-Z`:(])")


@dataclass(frozen=True, slots=True)
class DocumentationCorpus:
    """Documents, and queries of which the one right answer is known.

    Attributes:
        documents: `id` is the public name (`numpy.linalg.svd`), the text is the docstring without its summary, and
            the metadata hold `package`, `module` (the one people import it from), `name` (the last part of the id)
            and `kind` (`"class"`, `"function"`, `"method"`, `"property"`). In order of their ids.
        queries: `{"query": summary sentence, "document_id": id, "module": where it is written}`. Not every document
            has one: summaries that are very short, stand in the text as well, or belong to several documents are no
            questions with one answer.
    """

    documents: list[Document]
    queries: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A public object with a docstring, under its best name."""

    name: str
    module: str
    written_in: str
    kind: str
    docstring: str


def installed_packages() -> list[str]:
    """Those of `DEFAULT_PACKAGES` that can be imported here."""
    return [name for name in DEFAULT_PACKAGES if importlib.util.find_spec(name) is not None]


def walk_packages(
    names: Sequence[str] = DEFAULT_PACKAGES, *, limit: int | None = None
) -> DocumentationCorpus:
    """Read the documentation of installed packages: public classes, functions, methods and properties.

    What is reached by several names gets the shortest. Private names, test modules, short texts, texts that only
    point elsewhere and repetitions of a text are left out. Names and queries depend
    on the installed versions only; a few of scipy's texts show random numbers, drawn when it is imported.

    Args:
        names: Packages by the names they are imported by.
        limit: Keep at most so many documents, drawn from all packages, always the same ones; None keeps all.

    Raises:
        InvalidArgumentError: If a package is not installed, naming it, or if `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise InvalidArgumentError(f"limit must be at least 1 or None, got {limit}.")
    packages = [_checked(name) for name in dict.fromkeys(names)]
    documents, summaries = [], {}
    texts: set[str] = set()
    for entry in sorted(_entries(packages), key=lambda entry: entry.name):
        summary, body = split_docstring(_ADDRESS.sub("", entry.docstring))
        words = body.split()
        text = " ".join(words)
        if len(words) < _FEWEST_BODY_WORDS or text in texts or _BOILERPLATE.match(summary):
            continue
        texts.add(text)
        package, _, name = entry.name.partition(".")
        name = name.rpartition(".")[2]
        metadata = {"package": package, "module": entry.module, "name": name, "kind": entry.kind}
        documents.append(Document(id=entry.name, page_content=body, metadata=metadata))
        summaries[entry.name] = (summary, entry.written_in)
    if limit is not None and limit < len(documents):
        kept = random.Random(0).sample(documents, limit)  # noqa: S311  # a sample, not a secret
        documents = sorted(kept, key=lambda document: str(document.id))
    return DocumentationCorpus(documents, _queries(documents, summaries))


def split_by_module(
    corpus: DocumentationCorpus, *, held_out: int = 250, seed: int = 0
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Split queries so that no module has some on both sides: what is written in one file is often alike.

    Args:
        corpus: From `walk_packages`.
        held_out: How many queries to hold out. Modules are drawn at random and held out whole if that many fit, so
            that a module with more queries than this is always trained on; fewer may be held out in a small corpus.
        seed: Of the draw.

    Returns:
        Queries to train on, and queries held out, each in the order of the corpus.

    Raises:
        InvalidArgumentError: If `held_out` is not between 1 and the number of queries.
    """
    if not 1 <= held_out < len(corpus.queries):
        raise InvalidArgumentError(
            f"held_out must be at least 1 and below the number of queries, {len(corpus.queries)}; got {held_out}."
        )
    sizes = Counter(query["module"] for query in corpus.queries)
    modules = sorted(sizes)
    random.Random(seed).shuffle(modules)  # noqa: S311  # a split, not a secret
    chosen: set[str] = set()
    room = held_out
    for module in modules:
        if sizes[module] <= room:
            chosen.add(module)
            room -= sizes[module]
    train = [query for query in corpus.queries if query["module"] not in chosen]
    return train, [query for query in corpus.queries if query["module"] in chosen]


def split_docstring(docstring: str) -> tuple[str, str]:
    """Cut a docstring into its summary sentence, on one line and without markup, and the rest of it.

    A signature in front, as C code has it, is dropped. A docstring that begins with a section has no summary (`""`).
    """
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(docstring))
    while paragraphs and _SIGNATURE.fullmatch(paragraphs[0].strip()):
        del paragraphs[0]
    if not paragraphs or _UNDERLINE.search(paragraphs[0]):
        return "", "\n\n".join(paragraphs)
    sentence, *more = _SENTENCE_END.split(" ".join(paragraphs[0].split()), maxsplit=1)
    return _plain(sentence), "\n\n".join([*more, *paragraphs[1:]]).strip()


def _plain(text: str) -> str:
    return _ROLE.sub(r"\1", text).replace("`", "").replace("*", "").strip()


def _checked(name: str) -> str:
    imported = _IMPORT_NAMES.get(name, name)
    if not imported.isidentifier() or importlib.util.find_spec(imported) is None:
        raise InvalidArgumentError(
            f"No package {name!r} is installed. Of those that are walked by default, these are: "
            f"{', '.join(installed_packages()) or 'none'}. Install it with: pip install {name}"
        )
    return imported


def _queries(documents: Sequence[Document], summaries: dict[str, tuple[str, str]]) -> list[dict[str, str]]:
    ids = [str(document.id) for document in documents]
    times = Counter(summaries[document_id][0].casefold() for document_id in ids)
    queries = []
    for document_id, document in zip(ids, documents, strict=True):
        summary, written_in = summaries[document_id]
        in_text = summary.casefold() in _plain(" ".join(document.page_content.split())).casefold()
        if len(summary.split()) >= _FEWEST_SUMMARY_WORDS and times[summary.casefold()] == 1 and not in_text:
            queries.append({"query": summary, "document_id": document_id, "module": written_in})
    return queries


def _entries(packages: Sequence[str]) -> list[_Entry]:
    """Everything public with a docstring, each object once, under the name with the fewest parts."""
    found: dict[int, list[_Entry]] = defaultdict(list)
    keep_alive = []  # An id means nothing after its object is gone, and lazy modules make objects on request.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing everything means importing what is deprecated
        for package in packages:
            for module in _modules(package, _DEPTH):
                for object_, entry in _members(module, package):
                    keep_alive.append(object_)
                    found[id(object_)].append(entry)
    return [
        min(entries, key=lambda entry: (entry.name.count("."), len(entry.name), entry.name))
        for entries in found.values()
    ]


def _modules(name: str, depth: int) -> Iterator[ModuleType]:
    try:
        module = importlib.import_module(name)
    except _NOT_IMPORTABLE:
        return
    yield module
    if depth and hasattr(module, "__path__"):
        for found in sorted(pkgutil.iter_modules(module.__path__), key=lambda found: found.name):
            if not found.name.startswith("_") and found.name not in _SKIPPED_MODULES:
                yield from _modules(f"{name}.{found.name}", depth - 1)


def _members(module: ModuleType, package: str) -> Iterator[tuple[Any, _Entry]]:
    for name, object_ in sorted(vars(module).items()):
        if name.startswith("_") or isinstance(object_, ModuleType) or not callable(object_):
            continue
        if not _belongs(object_, package) or not _offered(name, object_, module):
            continue
        kind = "class" if inspect.isclass(object_) else "function"
        docstring = _own_docstring(object_)
        full_name = f"{module.__name__}.{name}"
        if docstring:
            yield object_, _Entry(full_name, module.__name__, _written_in(object_, module), kind, docstring)
        if inspect.isclass(object_):
            yield from _attributes(object_, full_name, module, package)


def _attributes(
    class_: type, class_name: str, module: ModuleType, package: str
) -> Iterator[tuple[Any, _Entry]]:
    seen: set[str] = set()
    for base in class_.__mro__:
        if not _belongs(base, package):
            continue
        for name, raw in sorted(vars(base).items()):
            if name in seen:
                continue  # overridden by a class before this one
            seen.add(name)
            object_ = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
            described = inspect.isroutine(object_) or inspect.isdatadescriptor(object_)
            if name.startswith("_") or not described:
                continue
            docstring = _own_docstring(object_)
            if docstring:
                kind = "method" if inspect.isroutine(object_) else "property"
                written_in = _written_in(getattr(object_, "fget", None) or object_, base)
                yield object_, _Entry(f"{class_name}.{name}", module.__name__, written_in, kind, docstring)


def _belongs(object_: Any, package: str) -> bool:
    """Whether an object is of a package, and not one that it imported from elsewhere."""
    home = getattr(object_, "__module__", None) or getattr(type(object_), "__module__", None)
    # Functions written in C have no module, or that of the builtins.
    if isinstance(home, str) and home not in {"builtins", "types"}:
        return home.partition(".")[0] == package
    return inspect.isbuiltin(object_)


def _offered(name: str, object_: Any, module: ModuleType) -> bool:
    """Whether a module offers a name, and did not just import it for its own use."""
    exported = getattr(module, "__all__", None)
    if exported is not None:
        return name in exported
    home = getattr(object_, "__module__", None)
    return not isinstance(home, str) or f"{home}.".startswith(f"{module.__name__}.")


def _own_docstring(object_: Any) -> str | None:
    """The docstring of an object itself, not the one that an instance has from its class."""
    docstring = vars(object_).get("__doc__") if inspect.isclass(object_) else object_.__doc__
    if not isinstance(docstring, str) or docstring == type(object_).__doc__:
        return None
    return docstring


def _written_in(object_: Any, container: Any) -> str:
    # numpy sets `__module__` to where a function is offered; its globals are where it is written.
    variables = getattr(inspect.unwrap(object_), "__globals__", {})
    home = variables.get("__name__", getattr(object_, "__module__", None))
    if isinstance(home, str) and home != "builtins":
        return home
    return str(container.__name__ if isinstance(container, ModuleType) else container.__module__)

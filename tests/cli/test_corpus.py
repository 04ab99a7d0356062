"""The corpus of installed documentation, by real numbers on real packages."""

import json
import subprocess
import sys

import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever.cli.corpus import (
    DocumentationCorpus,
    installed_packages,
    split_by_module,
    split_docstring,
    walk_packages,
)
from langchain_rerank_retriever.errors import InvalidArgumentError


@pytest.fixture(scope="module")
def corpus() -> DocumentationCorpus:
    return walk_packages(["numpy", "scipy"])


def test_there_is_enough_of_it(corpus: DocumentationCorpus) -> None:
    packages = [document.metadata["package"] for document in corpus.documents]
    assert packages.count("numpy") > 800
    assert packages.count("scipy") > 1200
    assert len(corpus.queries) > 1500


def test_what_the_core_install_brings_is_enough_for_a_demo() -> None:
    packages = ["numpy", "scipy", "scikit-learn"]
    corpus = walk_packages(packages)
    assert len(corpus.documents) > 2000
    assert {document.metadata["package"] for document in corpus.documents} == {"numpy", "scipy", "sklearn"}


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("numpy.linalg.svd", "function", "singular"),
        ("numpy.hypot", "function", "hypotenuse"),  # written in C
        ("numpy.ndarray.argsort", "method", None),
        ("scipy.optimize.curve_fit", "function", "least squares"),
        ("scipy.interpolate.CubicSpline", "class", "boundary"),
    ],
)
def test_known_documents(corpus: DocumentationCorpus, name: str, kind: str, words: str | None) -> None:
    found = [document for document in corpus.documents if document.id == name]
    if words is None:  # numpy's methods only point to the functions
        assert not found
        return
    (document,) = found
    assert words in document.page_content
    module, _, last = name.rpartition(".")
    assert document.metadata == {
        "package": name.partition(".")[0],
        "module": module,
        "name": last,
        "kind": kind,
    }


def test_known_query(corpus: DocumentationCorpus) -> None:
    (query,) = [query for query in corpus.queries if query["document_id"] == "numpy.linalg.solve"]
    assert query["query"] == "Solve a linear matrix equation, or system of linear scalar equations."
    assert query["module"] == "numpy.linalg._linalg"


def test_every_query_has_one_answer_that_does_not_quote_it(corpus: DocumentationCorpus) -> None:
    texts = {document.id: " ".join(document.page_content.split()) for document in corpus.documents}
    assert len(texts) == len(set(texts.values())) == len(corpus.documents)
    asked = [query["query"].casefold() for query in corpus.queries]
    assert len(set(asked)) == len(asked)
    for query in corpus.queries:
        assert query["query"] not in texts[query["document_id"]]
        assert len(query["query"].split()) >= 4
        assert "\n" not in query["query"]
    assert min(len(text.split()) for text in texts.values()) >= 30


def test_only_public_names(corpus: DocumentationCorpus) -> None:
    for document in corpus.documents:
        parts = str(document.id).split(".")
        assert not any(part.startswith("_") or part in {"tests", "testing"} for part in parts)


def test_the_same_in_every_process(corpus: DocumentationCorpus) -> None:
    # Another process has other modules loaded and another seed of its hashes.
    code = (
        "import json; from langchain_rerank_retriever.cli.corpus import walk_packages\n"
        "corpus = walk_packages(['scipy', 'numpy'])\n"
        "print(json.dumps([[d.id, d.metadata, d.page_content] for d in corpus.documents]))\n"
        "print(json.dumps(corpus.queries))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    documents, queries = map(json.loads, output.splitlines())
    assert queries == corpus.queries
    assert [one[:2] for one in documents] == [[one.id, one.metadata] for one in corpus.documents]
    # scipy draws the numbers that some of its docstrings show as examples when it is imported.
    same = [one[2] == other.page_content for one, other in zip(documents, corpus.documents)]
    assert sum(same) > 0.99 * len(same)


def test_limit_draws_from_everywhere() -> None:
    small = walk_packages(["numpy", "scipy"], limit=100)
    assert len(small.documents) == 100
    assert {document.metadata["package"] for document in small.documents} == {"numpy", "scipy"}
    ids = [document.id for document in small.documents]
    assert ids == sorted(ids)
    assert {query["document_id"] for query in small.queries} <= set(ids)
    assert small == walk_packages(["numpy", "scipy"], limit=100)


def test_split_keeps_modules_whole(corpus: DocumentationCorpus) -> None:
    train, held_out = split_by_module(corpus)
    assert len(held_out) == 250
    assert len(train) + len(held_out) == len(corpus.queries)
    assert {query["module"] for query in train}.isdisjoint(query["module"] for query in held_out)
    assert len({query["module"] for query in held_out}) > 5
    assert split_by_module(corpus) == (train, held_out)
    assert split_by_module(corpus, seed=1)[1] != held_out


def test_split_leaves_a_module_that_is_too_large_in_training() -> None:
    queries = [
        {"query": f"{n}", "document_id": f"{n}", "module": "big" if n < 9 else "small"} for n in range(11)
    ]
    train, held_out = split_by_module(DocumentationCorpus([Document("x")], queries), held_out=3)
    assert [query["module"] for query in held_out] == ["small", "small"]
    assert len(train) == 9


@pytest.mark.parametrize("held_out", [0, -1, 11, 12])
def test_split_checks_its_number(held_out: int) -> None:
    queries = [{"query": f"{n}", "document_id": f"{n}", "module": f"{n}"} for n in range(11)]
    with pytest.raises(InvalidArgumentError, match=f"below the number of queries, 11; got {held_out}"):
        split_by_module(DocumentationCorpus([], queries), held_out=held_out)


@pytest.mark.parametrize("name", ["no_such_package", "no such package", "", "..", "numpy/linalg"])
def test_a_package_that_is_not_there(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"No package .* is installed.*: .*numpy.*pip install"):
        walk_packages(["numpy", name])
    assert {"numpy", "scipy", "sklearn", "torch"} <= set(installed_packages())


def test_limit_is_checked() -> None:
    with pytest.raises(InvalidArgumentError, match="at least 1 or None, got 0"):
        walk_packages(["numpy"], limit=0)


@pytest.mark.parametrize(
    ("docstring", "summary", "body"),
    [
        ("One line.", "One line.", ""),
        ("One\n    line.\n\n    The rest.", "One line.", "The rest."),
        ("First one. Second one.\n\nRest.", "First one.", "Second one.\n\nRest."),
        ("Use e.g. The first, i.e. A thing. More.", "Use e.g. The first, i.e. A thing.", "More."),
        ("add(x, /) -> Tensor\n\nAdds :attr:`x` to ``y``.\n\nRest.", "Adds x to y.", "Rest."),
        ("Like :func:`~numpy.add` and :class:`this <a.b>`.", "Like numpy.add and this.", ""),
        ("Parameters\n----------\nx : int", "", "Parameters\n----------\nx : int"),
        ("f(x)", "", ""),
        ("", "", ""),
    ],
)
def test_docstrings_are_cut_after_the_summary(docstring: str, summary: str, body: str) -> None:
    assert split_docstring(docstring) == (summary, body)

"""Run files and judgements of TREC: what is written comes back, here and in ir-measures."""

from pathlib import Path

import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_rerank_retriever.errors import DataError, StorageError
from langchain_rerank_retriever.evaluation import judge
from langchain_rerank_retriever.formats.trec import read_qrels, read_run, write_qrels, write_run

ids = st.text(st.characters(exclude_categories=("Cs", "Z", "Cc")), min_size=1, max_size=8).filter(
    lambda text: text.split() == [text] and not text.startswith("\ufeff")
)
rankings = st.dictionaries(ids, st.lists(ids, min_size=1, max_size=8, unique=True), min_size=1, max_size=5)
judgements = st.dictionaries(
    ids, st.dictionaries(ids, st.integers(-3, 5), min_size=1, max_size=5), min_size=1, max_size=5
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trec") / "file"


@settings(max_examples=150, deadline=None)
@given(run=rankings)
def test_a_run_comes_back(path: Path, run: dict[str, list[str]]) -> None:
    write_run(path, run, name="tuned + cross-encoder")
    assert read_run(path) == {query: tuple(ranked) for query, ranked in run.items()}
    theirs: dict[str, list[tuple[float, str]]] = {}
    for one in ir_measures.read_trec_run(str(path)):
        theirs.setdefault(one.query_id, []).append((-one.score, one.doc_id))
    assert {query: [name for _, name in sorted(scored)] for query, scored in theirs.items()} == run
    assert all(len({score for score, _ in scored}) == len(scored) for scored in theirs.values())


@settings(max_examples=150, deadline=None)
@given(qrels=judgements)
def test_judgements_come_back(path: Path, qrels: dict[str, dict[str, int]]) -> None:
    write_qrels(path, qrels)
    assert read_qrels(path) == qrels
    theirs: dict[str, dict[str, int]] = {}
    for one in ir_measures.read_trec_qrels(str(path)):
        theirs.setdefault(one.query_id, {})[one.doc_id] = one.relevance
    assert theirs == qrels


@settings(max_examples=50, deadline=None)
@given(run=rankings, data=st.data())
def test_trec_eval_gives_a_written_run_the_same_values(
    path: Path, run: dict[str, list[str]], data: st.DataObject
) -> None:
    qrels = {
        query: {name: data.draw(st.integers(0, 2)) for name in [*ranked, "another"]}
        for query, ranked in run.items()
    }
    write_run(path, run)
    theirs = ir_measures.calc_aggregate(
        [ir_measures.nDCG @ 5, ir_measures.RR], qrels, ir_measures.read_trec_run(str(path))
    )
    ours = judge(run, qrels, ["nDCG@5", "RR"])
    assert [ours["nDCG@5"], ours["RR"]] == pytest.approx(
        [theirs[ir_measures.nDCG @ 5], theirs[ir_measures.RR]]
    )


def test_the_file_of_a_run(path: Path) -> None:
    write_run(path, {"q1": ["문서", "a"], "none": [], "q2": ["b"]}, name=" tuned  + re-ranked ")
    assert path.read_bytes().decode() == (
        "q1 Q0 문서 1 2 tuned_+_re-ranked\nq1 Q0 a 2 1 tuned_+_re-ranked\nq2 Q0 b 1 1 tuned_+_re-ranked\n"
    )


def test_the_order_of_a_foreign_run(path: Path) -> None:
    path.write_bytes(
        b"\xef\xbb\xbfq\tQ0\tlast\t1\t-1e3\tx\r\n"
        b"q Q0 tied-second 3 0.5 x\n"
        b"\n"
        b"other Q0 a 0 7 x\n"
        b"  q Q0 tied-first 2 0.50 x  \n"
        b"q Q0 with\xc2\xa0space 9 0.75 x\n"
    )
    assert read_run(path) == {
        "q": ("with\xa0space", "tied-first", "tied-second", "last"),
        "other": ("a",),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "q Q0 a 1 0.5 x\nq Q0 b 2 0.4\n",
            r"file, line 2: expected 6 fields .*rank, score.*got 'q Q0 b 2 0.4'",
        ),
        ("q Q0 a 1 0.5 my run\n", r"file, line 1: expected 6 fields"),
        ("q Q0 a first 0.5 x\n", r"file, line 1: the rank must be a finite number, got 'first'"),
        ("q Q0 a 1.5 0.5 x\n", r"file, line 1: the rank must be a whole number, got '1.5'"),
        ("q Q0 a 1 high x\n", r"file, line 1: the score must be a finite number, got 'high'"),
        ("q Q0 a 1 nan x\n", r"file, line 1: the score must be a finite number, got 'nan'"),
        ("q Q0 a 1 2 x\n\nq Q0 a 2 1 x\n", r"file, line 3: document 'a' is there twice for query 'q'"),
        ("", r"file is empty; expected lines with query id, Q0, document id, rank"),
        ("\n \n", r"file is empty"),
    ],
)
def test_a_run_that_is_none(path: Path, content: str, message: str) -> None:
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_run(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q 0 a 1\nq a 1\n", r"file, line 2: expected 4 fields .*query id, 0, document id and relevance"),
        ("q 0 a high\n", r"file, line 1: the relevance must be a finite number, got 'high'"),
        ("q 0 a 0.5\n", r"file, line 1: the relevance must be a whole number, got '0.5'"),
        (
            "q 0 a 1\nq 0 a 2\n",
            r"line 2: document 'a' has relevance 2 for query 'q', and 1 in an earlier line",
        ),
        ("", "file is empty"),
    ],
)
def test_judgements_that_are_none(path: Path, content: str, message: str) -> None:
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_qrels(path)


def test_judgements_as_others_write_them(path: Path) -> None:
    path.write_text("q\t0\ta\t1.0\nq  Q0 b  -2\nq 0 a 1\n")
    assert read_qrels(path) == {"q": {"a": 1, "b": -2}}


@pytest.mark.parametrize(
    "name", ["a b", "a\tb", "a\n", " a", "a\xa0b", "a\u3000b", "a\u2028b", "a\x1cb", "\ufeffa"]
)
def test_ids_that_would_not_come_back_are_refused(path: Path, name: str) -> None:
    path.write_text("as it was")
    for write, data in (
        (write_run, {"q": ["x", name]}),
        (write_run, {name: ["x"]}),
        (write_qrels, {"q": {name: 1}}),
        (write_qrels, {name: {"x": 1}}),
    ):
        with pytest.raises(
            DataError, match=r"id .* cannot be written to a file of TREC.*Rename it everywhere"
        ):
            write(path, data)
    assert path.read_text() == "as it was"


def test_rankings_that_cannot_be_written(path: Path) -> None:
    with pytest.raises(DataError, match="ranking of query 'q' has a document twice"):
        write_run(path, {"q": ["a", "a"]})
    with pytest.raises(DataError, match="lone surrogate"):
        write_run(path, {"q": ["a\ud800"]})
    for name in ("", 7, None):
        with pytest.raises(DataError, match="A document id must be a non-empty string, got"):
            write_run(path, {"q": [name]})


def test_judgements_that_cannot_be_written(path: Path) -> None:
    path.write_text("as it was")
    for wrong in (0.5, True, None, "high"):
        with pytest.raises(
            DataError, match=r"query 'q', document 'b': the relevance must be a .* number, got"
        ):
            write_qrels(path, {"q": {"a": 1, "b": wrong}})
    assert path.read_text() == "as it was"
    write_qrels(path, {"q": {"a": 2.0}})
    assert path.read_text() == "q 0 a 2\n"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"The run file .*none cannot be read: there is no such file"):
        read_run(tmp_path / "none")
    with pytest.raises(StorageError, match=r"The judgements .* cannot be read"):
        read_qrels(tmp_path)
    (tmp_path / "latin").write_bytes(b"q Q0 caf\xe9 1 1 x")
    with pytest.raises(DataError, match="is not UTF-8"):
        read_run(tmp_path / "latin")

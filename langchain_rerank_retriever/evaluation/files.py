"""What is judged and what came of it, in files: queries, judgements, runs, evaluations."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.evaluation.judge import judge
from langchain_rerank_retriever.evaluation.judgements import checked_qrels, some
from langchain_rerank_retriever.evaluation.measures import DEFAULT_MEASURES
from langchain_rerank_retriever.evaluation.result import Evaluation
from langchain_rerank_retriever.files import written_whole
from langchain_rerank_retriever.formats import beir, trec
from langchain_rerank_retriever.formats.reading import readable, text_lines


def read_queries(path: str | Path) -> dict[str, str]:
    """Read queries: `{query id: text}`.

    Args:
        path: JSON lines with `_id` (or `id`) and `text`, as in a BEIR folder; or a `.tsv` file of id, tab, text.

    Raises:
        DataError: If a line has another form, or an id comes twice; names file and line.
        StorageError: If the file cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() != ".tsv":
        return beir.read_query_lines(path)
    queries: dict[str, str] = {}
    with readable(path, "queries"):
        for place, line in text_lines(path):
            query_id, tab, text = line.partition("\t")
            if not (query_id and tab):
                raise DataError(f"{place}: expected a query id, a tab and the text, got {line[:80]!r}.")
            if query_id in queries:
                raise DataError(f"{place}: the id {query_id!r} is there twice. Ids must be unique.")
            queries[query_id] = text
    return queries


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Read judgements: `{query id: {document id: relevance}}`.

    Args:
        path: Four columns separated by blanks, as TREC has them, or three separated by tabs, as in a BEIR folder; the
            first line tells.

    Raises:
        DataError: If a line has another form, or a document has two relevances for a query; names file and line.
        StorageError: If the file cannot be read.
    """
    path = Path(path)
    with readable(path, "judgements"):
        _, first = next(text_lines(path), ("", ""))
    return beir.read_judgement_table(path) if first.count("\t") == 2 else trec.read_qrels(path)


def judge_run(
    path: str | Path,
    qrels: Mapping[str, Mapping[str, float]],
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    name: str | None = None,
) -> Evaluation:
    """Judge a run file of TREC, of whatever system.

    A judged query that has no line got nothing and counts 0.

    Args:
        path: See `read_run`.
        qrels: `{query id: {document id: relevance}}`; see `Judge`.
        measures: In the notation of ir-measures.
        name: What the system is called; None takes the name of the file.

    Raises:
        DataError: If the run or the judgements cannot be used, or they have no query in common.
        InvalidArgumentError: If a measure is unknown.
        StorageError: If the file cannot be read.

    Warns:
        UserWarning: If some of the judged queries have no line, or documents of one query have equal scores: here they
            stand in the order of the rank column, in trec_eval in that of their ids.
    """
    scores, judged = trec.read_scores(path), checked_qrels(qrels)
    rankings = trec.ranked(scores)
    missing = judged.keys() - rankings.keys()
    if len(missing) == len(judged):
        raise DataError(
            f"{path} has none of the {len(judged)} judged queries: it names {some(rankings)}, the judgements "
            f"{some(judged)}. Judge a run by the judgements of its own queries."
        )
    if missing:
        warnings.warn(
            f"{path} has nothing for {len(missing)} of {len(judged)} judged queries: {some(missing)}. Each counts 0.",
            UserWarning,
            stacklevel=2,
        )
    tied = [key for key in judged if key in scores and trec.has_ties(scores[key])]
    if tied:
        warnings.warn(
            f"{path} has documents of equal scores for {len(tied)} of {len(judged)} judged queries: {some(tied)}. "
            f"They stand in the order of the rank column; trec_eval orders them by id, and may have other figures.",
            UserWarning,
            stacklevel=2,
        )
    everything = {**dict.fromkeys(judged, ()), **rankings}
    return judge(everything, judged, measures, name=Path(path).stem if name is None else name)


def save_evaluation(evaluation: Evaluation, path: str | Path) -> None:
    """Keep an evaluation as JSON; the file appears whole or not at all, and replaces one of that name.

    Raises:
        StorageError: If it cannot be written.
    """
    with written_whole(Path(path)) as file:
        json.dump(evaluation.to_dict(), file, ensure_ascii=False)
        file.write("\n")


def load_evaluation(path: str | Path) -> Evaluation:
    """Open what `save_evaluation` kept.

    Raises:
        DataError: If the file holds something else.
        StorageError: If it cannot be read.
    """
    with readable(Path(path), "evaluation"):
        text = Path(path).read_text(encoding="utf-8-sig")
    try:
        return Evaluation.from_dict(json.loads(text))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a saved evaluation, or damaged: {error!r}.") from error

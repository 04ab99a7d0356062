"""One call: tune both encoders on the user's own data, and prove on held-out queries what that brought."""

import shutil
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from langchain_core.documents import Document

from langchain_rerank_retriever import bundle
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.training.data.corpus import corpus_of
from langchain_rerank_retriever.training.data.reading import read_training_data
from langchain_rerank_retriever.training.data.split import split_by_group
from langchain_rerank_retriever.training.fit.encoders import check_start
from langchain_rerank_retriever.training.inputs import Inputs
from langchain_rerank_retriever.training.phases import Tuning, TuningResult
from langchain_rerank_retriever.training.plan import Plan
from langchain_rerank_retriever.training.progress import Phases

DEFAULT_MINUTES = 10.0


def tune(
    documents: Iterable[Document],
    training_data: Any,
    *,
    embeddings: Any,
    reranker: Any = "warm",
    output_dir: str | Path,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    resume: bool = False,
    held_out: Any = None,
    unknown_passages: Literal["refuse", "add"] = "refuse",
    show_progress: bool = False,
) -> TuningResult:
    """Tune a bi-encoder, a cross-encoder and their blend on your own data, and keep what proves to be better.

    Args:
        documents: The corpus; each document needs an id.
        training_data: Queries with the documents that answer them, see `read_training_data`: a `datasets.Dataset`,
            a list of dicts, or a path (JSONL, CSV, Parquet, BEIR folder) with the columns `query` and `document_id`
            or `passage`, and optionally `relevance`, `negatives`, `group`.
        embeddings: The bi-encoder to start from: a `PooledEmbeddings`, or a model name or folder.
        reranker: `"warm"` trains a cross-encoder from the tuned bi-encoder's language model; the name or folder of
            a cross-encoder (or a `CrossEncoderScorer`) fine-tunes that one; of another model, trains a new head on
            it; None tunes recall only.
        output_dir: The folder of the bundle. An earlier bundle there is replaced only when the new one is complete.
        minutes: Budget of wall time for everything; default 10. Longer only where indexing and judging alone take
            longer.
        steps: Instead of minutes: optimiser steps of each encoder. Equal steps and seed give equal models on a CPU.
        seed: Of splitting, drawing and training.
        resume: Not in this version; a killed run leaves the earlier bundle as it was and is started anew.
        held_out: Data in any of the same forms that only the report's figures come from. None: a fifth of the
            training queries (at most 300, split by `group`) is held out, and whatever is fitted on them is
            cross-fitted.
        unknown_passages: Whether a `passage` that is no document's text is refused or added to the documents.
        show_progress: Show bars on standard error.

    Returns:
        The report, the chosen retriever and the bundle's folder. The untuned systems are always candidates: where
        tuning does not help, the chosen one is untuned and the report says so.

    Raises:
        DataError: If documents or data cannot be used; nothing was written.
        InvalidArgumentError: If an argument is out of range.
        ModelLoadError: If a model cannot be loaded.
    """
    if resume:
        raise InvalidArgumentError("resume=True is not in this version. Leave it out to tune from the start.")
    plan = Plan.of(minutes, steps, None, default_minutes=DEFAULT_MINUTES)
    check_start(reranker)
    target = Path(output_dir).resolve()
    bundle.check_target(target)
    corpus = corpus_of(documents)
    data = read_training_data(training_data, corpus, unknown_passages=unknown_passages)
    corpus |= {str(document.id): document for document in data.added}
    test = None if held_out is None else read_training_data(held_out, corpus, beir_split="test")
    train, dev = split_by_group(data, seed=seed)
    with ExitStack() as opened:
        encoder = embeddings
        if not isinstance(embeddings, PooledEmbeddings):
            encoder = opened.enter_context(PooledEmbeddings(embeddings))
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.tuning-", dir=target.parent))
        opened.callback(shutil.rmtree, work, ignore_errors=True)
        phases = opened.enter_context(Phases(show=show_progress))
        inputs = Inputs(corpus, train, dev, test, seed)
        return Tuning(inputs, plan, phases, work, opened).run(encoder, reranker, target)

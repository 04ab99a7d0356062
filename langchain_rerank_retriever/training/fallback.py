"""Which untuned mode to serve where the user's own judgements cannot tell."""

from collections.abc import Sequence

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.training.data import weak_pairs
from langchain_rerank_retriever.training.indexing import recall_tables
from langchain_rerank_retriever.training.proof.fit_blend import LEAST_QUERIES, MEASURE
from langchain_rerank_retriever.training.proof.stages import System, served_order
from langchain_rerank_retriever.training.proof.systems import BASE, BM25, HYBRID

#: Enough to tell a mode that fails from one that works, and embedded in seconds.
MOST_DOCUMENTS = 300

#: What is served where the documents cannot tell either: it is never far below the better of its two sides.
UNKNOWN = HYBRID

_MODES = (System(HYBRID, mode="hybrid"), System(BM25, mode="lexical"), System(BASE))


def best_untuned(documents: Sequence[Document], encoder: Embeddings, *, seed: int) -> str:
    """Find the untuned mode that answers best when the documents' own titles and first sentences ask.

    Each document's title or first sentence is the query and the rest of it the answer, which does not hold the query
    (`weak_pairs`). That is easier than real questions and favours words over meaning, but it shows what matters
    here: whether the bi-encoder knows the language of the documents at all.

    Args:
        documents: The corpus; a sample of it is used.
        encoder: The untuned bi-encoder.
        seed: Of the sample.

    Returns:
        The name of a system; of equally good ones hybrid recall before BM25 before dense recall.
    """
    places = np.random.default_rng(seed).permutation(len(documents))[:MOST_DOCUMENTS]
    pairs = weak_pairs([documents[place] for place in sorted(places)])
    queries, qrels, bodies = {}, {}, {}
    for number, row in enumerate(pairs.rows):
        key = str(number)
        queries[key], qrels[key] = row["query"], {row["document_id"]: 1}
        bodies[row["document_id"]] = pairs.bodies[row["document_id"]]
    if len(queries) < LEAST_QUERIES:
        return UNKNOWN
    with FaissStore(encoder) as store:
        store.add_texts(list(bodies.values()), ids=list(bodies))
        tables = recall_tables(store, queries, lambda _share: None)
    judge = Judge(qrels, (MEASURE,))
    values = {
        mode.name: judge({key: served_order(table, mode) for key, table in tables.items()})[MEASURE]
        for mode in _MODES
    }
    return max(values, key=lambda name: values[name])

"""The retriever: recall, re-rank, blend, return.

`RerankRetriever` is a LangChain retriever, and stands wherever one does: in chains, as an agent's tool, behind
`batch` and `ainvoke`. What a query goes through:

1. **Recall** gives `fetch_k` candidates from a store: `recall_mode="dense"` by the bi-encoder's vectors, `"lexical"`
   by BM25, `"hybrid"` by both. A `filter` is applied before the search.
2. **Re-ranking**: the cross-encoder gives each candidate a score. A list of re-rankers is a cascade, `timeout` bounds
   the time, `early_stop` leaves out what cannot be returned any more.
3. **Blend**: where `tune` has fitted one, the scores of all stages become one probability, by which the candidates
   are ordered; else they are ordered by the re-ranker, or without one by recall.
4. **Return**: the best `k`, of at least `score_threshold`; one for each parent with `collapse`, unlike each other
   with `lambda_mult`.

More candidates (`fetch_k`) find more and take longer: the time of a query is nearly all the cross-encoder's, and
grows with their number. `k` only says how many of them are returned.

```python
from langchain_rerank_retriever import RerankRetriever

retriever = RerankRetriever.from_documents(documents, embeddings=any_embeddings, reranker=any_cross_encoder)
found = retriever.invoke("gift cards", k=1, fetch_k=50, recall_mode="hybrid", filter={"topic": "money"})
print(found[0].id, found[0].metadata["relevance_kind"])  # returns rerank_score
```

Every setting can be given for a single call, as here. `RerankRetriever.explain` takes the same arguments and tells
what became of every candidate: its scores and ranks, whether it was returned and why not, and the seconds of each
stage.

```python
explanation = retriever.explain("gift cards", k=1)
for candidate in explanation.candidates:
    print(candidate.rank, candidate.document.id, candidate.outcome)  # 1 returns returned
print(sorted(explanation.seconds))  # ['blend', 'recall', 'rerank', 'total']
```

Tracers (LangSmith, any callback handler) see recall and re-ranking as child runs with their inputs and scores. A
handler with `on_custom_event`, and `astream_events`, also get the progress of a slow query, by these names:

* `rerank_retriever.recalled`, with `candidates`, their number;
* `rerank_retriever.scored` after each 32 of them or so, with `stage` of `stages` (from 1), and `scored` of
  `candidates`; not of somebody else's compressors, which do not tell;
* `rerank_retriever.reranked` after each re-ranker, with the same, and how many it `dropped`, and as `unscored` why it
  left some without a score (`"timeout"`, `"early_stop"`, or None).

```python
from langchain_core.callbacks import BaseCallbackHandler

class Progress(BaseCallbackHandler):
    def on_custom_event(self, name, data, **_):
        if name == "rerank_retriever.reranked":
            print(f"{data['scored']} of {data['candidates']} scored")  # 3 of 3 scored

retriever.invoke("gift cards", config={"callbacks": [Progress()]})
```

Where the parts come from: `langchain_rerank_retriever.recall`, `langchain_rerank_retriever.store`,
`langchain_rerank_retriever.cross_encoder`, `langchain_rerank_retriever.blend`. How a tuned one is made:
`langchain_rerank_retriever.training`. How it is kept: `langchain_rerank_retriever.bundle`.
"""

import warnings
from collections.abc import Mapping
from typing import Any, Unpack

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import LangSmithRetrieverParams
from langchain_core.vectorstores import VectorStore
from pydantic import PrivateAttr

from langchain_rerank_retriever.answering.answer import Stopwatch, explanation, ranked, spread_out, stop_rule
from langchain_rerank_retriever.answering.events import recalled
from langchain_rerank_retriever.answering.options import SETTINGS, CallOptions, Options
from langchain_rerank_retriever.answering.plan import Plan, make_plan
from langchain_rerank_retriever.answering.stages import arerank, rerank
from langchain_rerank_retriever.answering.threads import diversifying, finishing
from langchain_rerank_retriever.answering.tracing import AsyncRuns, Runs
from langchain_rerank_retriever.answering.turns import turn
from langchain_rerank_retriever.assembled import AssembledRetriever
from langchain_rerank_retriever.errors import valid_fields
from langchain_rerank_retriever.protocols import Explanation
from langchain_rerank_retriever.recall import source_of

__all__ = ["RerankRetriever"]


class RerankRetriever(AssembledRetriever):
    """Recall candidates, re-rank them with a cross-encoder, return the best with their scores.

    ```python
    from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings, RerankRetriever

    retriever = RerankRetriever.from_documents(
        documents,
        embeddings=PooledEmbeddings("sentence-transformers/all-MiniLM-L6-v2"),
        reranker=CrossEncoderScorer("cross-encoder/ms-marco-MiniLM-L6-v2"),
    )
    for document in retriever.invoke("how do I ...?", k=1):
        print(document.metadata["relevance_kind"])  # rerank_score
    ```

    Args:
        recall: A `FaissStore`, any `VectorStore`, any `BaseRetriever`, or a list of those, fused by
            reciprocal rank; where one of them fails, the query fails. In a list, documents are told apart by id, and
            one without an id is the one that has its text. A foreign source is believed in its order alone:
            `recall_score` is its own number, of which it is not known whether higher is better. Arguments of a foreign
            store that hold for every query go into `store.as_retriever(search_kwargs={...})`, and a source of a list
            that needs settings of its own into a retriever of its own, such as `RerankRetriever(ours,
            recall_mode="hybrid", k=100)`, which is a source like others. A foreign store must have been filled with
            the embeddings that it is asked with; only a `FaissStore` checks that.
        reranker: A `CrossEncoderScorer` or any other `BaseCrossEncoder`, any `BaseDocumentCompressor`, or None for
            recall only. A list is a cascade, the cheap one first: each stage gets what the one before left, in its
            order, and all but the last must be compressors, which say how many they leave, as in
            `[CrossEncoderReranker(model=small, top_n=30), large]`. A blend weighs the scores of the last.
        k: How many documents to return at most.
        fetch_k: How many candidates to recall and re-rank; where it is below `k`, `k` candidates are recalled.
        recall_mode: `"dense"`, `"lexical"` (BM25) or `"hybrid"`; None is dense, or a foreign source's own order. Of a
            list, those sources take it that have it, and the others keep their own order; one must have it.
        score_threshold: Leave out documents whose `relevance_score` is lower. Only a fitted blend gives that score a
            scale (a probability); without one, a warning says so once. What `timeout` left unscored has none, and is
            left out, too; where nothing is returned for that reason, a warning is logged.
        blend: Fitted weights of the stages, as `tune` makes them; None orders by the re-ranker alone.
        timeout: Seconds after which no further pairs are scored. What is scored by then is ranked; the rest follows
            in recall order, without a `rerank_score`, and every document that is returned says `query_timed_out` in
            its metadata. The time counts from the call, recall included, but recall itself is never cut short: of
            hundreds of queries at once, which wait for one bi-encoder, a few threads and one interpreter, each is
            answered some time after it has been recalled, however late that is, and then unscored. A compressor other
            than `CrossEncoderReranker` cannot be stopped in the middle. Somebody else's cross-encoder is stopped only
            after each 16 pairs, for which `ainvoke` waits for a thread, in line with recalls.
        collapse: Metadata key (dotted for nested metadata, as in filters) whose equal values belong together, such as
            the source of chunks: of the candidates of one value only the best is returned, after re-ranking, so that
            `k` counts parents. A document without the key stands for itself. `fetch_k` bounds what there is to choose
            from: raise it where too few parents come back.
        early_stop: Score candidates in parts, and leave the rest unscored once, by the fitted blend, it is too far
            behind to be returned. Needs a blend for which `tune` has fitted that; its report says how many pairs that
            saves and how often an answer differs. All are scored where more than 10 documents are asked for, or more
            candidates than it was fitted for, or with `lambda_mult`. Not for a list of re-rankers.
        lambda_mult: Return documents that are relevant and unlike each other, by maximal marginal relevance after
            re-ranking: from 0, as unlike as can be, to 1, by relevance alone; None is by relevance alone without
            comparing. Relevance is the probability of a fitted blend or the cosine of recall; any other score is
            brought to 0 to 1 over the candidates. Needs the candidates' vectors: a `FaissStore` has them, those of
            other vector stores are embedded anew at every query.

    Every returned document is a copy. Its metadata carry `relevance_score` (what it was ordered by) and
    `relevance_kind` (`"probability"`, `"rerank_score"` or `"recall_score"`), `recall_rank` (1-based), and
    `recall_score`, `dense_score`, `lexical_score`, `rerank_score` where they exist. What `timeout` or `early_stop` left
    unscored is of the kind `"recall_score"`; a recall source without scores gives a rank and no `relevance_score`.
    `query_timed_out` is True in all of a query of which `timeout` left candidates unscored, else it is not there.
    """

    _warned: bool = PrivateAttr(default=False)

    def __init__(self, recall: Any = None, **fields: Any) -> None:
        with valid_fields(type(self).__name__):
            super().__init__(**{"recall": recall, **fields})

    def explain(self, query: str, **arguments: Unpack[CallOptions]) -> Explanation:
        """Answer a query and keep every candidate with its scores, ranks and fate; `invoke` returns `.documents`.

        The keyword arguments, all of `invoke` as well; left out or None, the retriever's own setting is taken:

        Args:
            query: The query; a blank one is refused, since an embedded blank is near arbitrary documents.
            k: How many documents at most.
            fetch_k: How many candidates; at least `k` are recalled.
            filter: Metadata filter, applied before the search; passed through as it is to a foreign store.
            recall_mode: `"dense"`, `"lexical"` or `"hybrid"`.
            score_threshold: Leave out documents whose `relevance_score` is lower.
            collapse: Metadata key of the parent, of which only the best document is returned.
            early_stop: Whether to leave unscored what is too far behind.
            lambda_mult: How much relevance counts against diversity.
            extra_queries: Further wordings, such as a chat model's (`MultiQueryRetriever`): candidates are recalled
                with each of them, too, the lists fused by reciprocal rank, and re-ranked for `query` itself.
            search_kwargs: For foreign stores: further arguments of their search methods, passed through untouched,
                such as `{"expr": "year > 2020"}` for Milvus. Of a list, every source must take them, since an `expr`
                that binds only some would let through what it is to keep out.

        Raises:
            InvalidArgumentError: For a blank query, an argument out of range, or one that does not go with the parts.
            RecallError: If a foreign store or retriever fails or gives what is no document; of several, one suffices.
            ScoringError: If the re-ranker returns something that is not a finite number for each candidate, or no
                documents that it was given.
        """
        return _answered(self._plan(query, arguments), Runs())

    async def aexplain(self, query: str, **arguments: Unpack[CallOptions]) -> Explanation:
        """Do what `explain` does without blocking the event loop."""
        return await _aanswered(self._plan(query, arguments), AsyncRuns())

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        verbose: bool = False,  # noqa: ARG002  # LangChain hands its own argument on
        **arguments: Any,
    ) -> list[Document]:
        runs = Runs(run_manager.get_child())
        return list(_answered(self._plan(query, arguments), runs).documents)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        verbose: bool = False,  # noqa: ARG002
        **arguments: Any,
    ) -> list[Document]:
        runs = AsyncRuns(run_manager.get_child())
        return list((await _aanswered(self._plan(query, arguments), runs)).documents)

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        """Tell tracers what the retriever is made of."""
        params = super()._get_ls_params(**kwargs)
        embeddings = getattr(self.recall, "embeddings", None)
        if isinstance(self.recall, VectorStore):
            params["ls_vector_store_provider"] = type(self.recall).__name__
        if embeddings is not None:
            params["ls_embedding_provider"] = type(embeddings).__name__
        if isinstance(name := getattr(embeddings, "model_name", None), str):
            params["ls_embedding_model"] = name
        return params

    def _plan(self, query: str, arguments: Mapping[str, Any]) -> Plan:
        plan = make_plan(
            query,
            Options.of(arguments, {name: getattr(self, name) for name in SETTINGS}),
            source=source_of(self.recall),
            reranker=self.reranker,
            blend=self.blend,
            timeout=self.timeout,
        )
        if plan.options.score_threshold is not None and plan.variant is None and not self._warned:
            self._warned = True
            warnings.warn(
                "score_threshold is compared with a score that has no fixed scale: this retriever has no fitted "
                "blend. Tune it with tune(), which makes relevance_score a probability.",
                stacklevel=3,
            )
        return plan


def _answered(plan: Plan, runs: Runs) -> Explanation:
    """Go through the stages of a query."""
    watch = Stopwatch(plan.started)
    query, tell = plan.request.query, runs.tell
    with runs.recall(query) as traced:
        traced.candidates = candidates = plan.source.recall(plan.request)
    if tell is not None:
        tell(recalled(len(candidates)))
    watch.lap("recall")
    rescored = None
    if plan.stages:
        documents = [candidate.document for candidate in candidates]
        stop = stop_rule(plan, candidates)
        with runs.rerank(query, documents) as traced:
            traced.rescored = rescored = rerank(
                plan.stages, query, documents, deadline=plan.deadline, stop=stop, tell=tell
            )
    watch.lap("rerank")
    ranking = ranked(plan, candidates, rescored)
    if plan.options.lambda_mult is not None:
        ranking = spread_out(plan, candidates, rescored, ranking)
        watch.lap("diversify")
    return explanation(plan, candidates, rescored, ranking, watch)


async def _aanswered(plan: Plan, runs: AsyncRuns) -> Explanation:
    """Go through the stages of a query without blocking the event loop."""
    watch = Stopwatch(plan.started)
    query, tell = plan.request.query, runs.tell
    async with turn():
        pass  # Many that come at once begin one after the other.
    async with runs.recall(query) as traced:
        traced.candidates = candidates = await plan.source.arecall(plan.request)
    if tell is not None:
        await tell(recalled(len(candidates)))
    watch.lap("recall")
    rescored = None
    if plan.stages:
        documents = [candidate.document for candidate in candidates]
        stop = stop_rule(plan, candidates)
        async with runs.rerank(query, documents) as traced:
            traced.rescored = rescored = await arerank(
                plan.stages, query, documents, deadline=plan.deadline, stop=stop, tell=tell
            )
    watch.lap("rerank")
    async with turn():
        ranking = ranked(plan, candidates, rescored)
    if plan.options.lambda_mult is not None:
        ranking = await diversifying.run(spread_out, plan, candidates, rescored, ranking)
        watch.lap("diversify")
    return await finishing.run(explanation, plan, candidates, rescored, ranking, watch)

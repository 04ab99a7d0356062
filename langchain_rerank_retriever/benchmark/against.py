"""A retriever next to LangChain's recipe with the same weights."""

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from langchain_rerank_retriever.benchmark.parts import Parts, Sample
from langchain_rerank_retriever.benchmark.recipe import Recipe, load_recipe, missing_package
from langchain_rerank_retriever.benchmark.timing import Race, Spread, spread, take_turns
from langchain_rerank_retriever.protocols import Explanation

#: The recipe takes seconds a query on two cores, so only the first of the sample are asked.
_QUERIES = 5


@dataclass(frozen=True, slots=True)
class Compared:
    """The same work done by LangChain's recipe and by this package, in turns.

    Attributes:
        count: How many queries, pairs or documents one turn has.
        theirs: Seconds of a turn of LangChain's recipe.
        ours: Seconds of a turn of this package.
        ratio: How many times as long the recipe takes.
    """

    count: int
    theirs: Spread
    ours: Spread
    ratio: Spread


def recipe_for(parts: Parts) -> Recipe | None:
    """Load the retriever's weights as LangChain's recipe does; None where it is not installed or lacks a part."""
    if parts.scorer is None or missing_package() is not None:
        return None
    return load_recipe(
        parts.embeddings.folder,
        parts.scorer.folder,
        max_seq_length=parts.embeddings.max_seq_length,
        max_length=parts.scorer.max_length,
    )


def against_recipe(recipe: Recipe, parts: Parts, sample: Sample, *, rounds: int) -> dict[str, Compared]:
    """Let both sides answer queries, score pairs and embed documents.

    Returns:
        By kind of work: `"query"` (a turn is one query, as deep as the retriever goes), `"pairs"` and
        `"documents"` (a turn is the whole sample).
    """
    asked = sample.explanations[:_QUERIES]
    theirs, numbers = _over_candidates(recipe, parts, asked), range(rounds)
    scorer, embeddings = parts.scorer, parts.embeddings
    queries = [one.query for one in asked]
    theirs.invoke(queries[0])  # pays for what is made at the first call; ours has been asked before
    raced = {"query": (1, take_turns(theirs.invoke, parts.retriever.invoke, queries))}
    if scorer is not None:
        race = take_turns(
            lambda _: recipe.cross_encoder.score(sample.pairs), lambda _: scorer.score(sample.pairs), numbers
        )
        raced["pairs"] = (len(sample.pairs), race)
    race = take_turns(
        lambda _: recipe.embeddings.embed_documents(sample.texts),
        lambda _: embeddings.embed_documents(sample.texts),
        numbers,
    )
    raced["documents"] = (len(sample.texts), race)
    return {kind: _compared(count, race) for kind, (count, race) in raced.items()}


def _over_candidates(recipe: Recipe, parts: Parts, explanations: Sequence[Explanation]) -> BaseRetriever:
    """Index what the queries recall, so that both sides re-rank nearly the same documents."""
    pool: dict[str | None, Document] = {}
    for explanation in explanations:
        pool |= {candidate.document.id: candidate.document for candidate in explanation.candidates}
    documents = list(pool.values())
    vectors = parts.embeddings.embed_documents([document.page_content for document in documents])
    fetch_k = max(len(explanation.candidates) for explanation in explanations)
    index = recipe.index_vectors(documents, vectors)
    return recipe.retriever(index, fetch_k=fetch_k, k=parts.retriever.k)


def _compared(count: int, race: Race) -> Compared:
    return Compared(count, spread(race.theirs), spread(race.ours), race.ratio)

"""What a store answers to recall: both sides of a query, by vector and by words, in one state of the store."""

from collections.abc import Callable, Collection, Sequence

from langchain_rerank_retriever.protocols import FloatArray

from .engine import Answer, Snapshot
from .filters import compile_filter
from .reading import Filter
from .searching import SearchableStore, check_dimension
from .sides import DenseSide, Hit, LexicalSide, Side, SideName, hits, scores_by_id
from .validation import checked_count, checked_query, wanted_ids
from .vectors import unit_query


class RecallableStore(SearchableStore):
    """What FaissStore answers to recall; every answer is of one state and of the model that made its vectors."""

    def hits_by_side(
        self,
        query: str,
        k: int,
        *,
        searched: Collection[SideName],
        scored: Collection[SideName] = (),
        filter: Filter | None = None,  # noqa: A002 - LangChain's name
        vector: FloatArray | None = None,
    ) -> list[Hit]:
        """Search by vector, by words or by both, all in one state of the store.

        Args:
            query: Any text.
            k: How many each side finds at most, at least 1.
            searched: The sides that search.
            scored: Further sides of which every hit has the score; those that search score all hits anyway.
            filter: Conditions on the metadata, applied before the search.
            vector: The query's, shape ``(d,)``, where it is known; it is believed to be of the model that made the
                store's. None has the query embedded, anew where `reembed` replaces the model meanwhile.

        Returns:
            The dense side's hits, best first, then those that only the lexical side has, best first.

        Raises:
            InvalidArgumentError: The store was made with ``lexical=False`` and that side is asked.
            ModelMismatchError: The store's vectors were made by another model.
        """
        names, count, condition = {*searched, *scored}, checked_count(k, "k"), compile_filter(filter)
        return self._asked(
            query,
            names,
            vector,
            lambda snapshot, sides: hits(snapshot, sides, searched, count, condition),
        )

    def scores_by_side(
        self,
        query: str,
        ids: Sequence[str],
        *,
        scored: Collection[SideName],
        vector: FloatArray | None = None,
    ) -> dict[SideName, dict[str, float]]:
        """Scores of given documents, all in one state of the store: those that `hits_by_side` gives them.

        Args:
            query: Any text.
            ids: Document ids; an unknown one is left out of the result.
            scored: The sides that are asked.
            vector: As for `hits_by_side`.

        Returns:
            By side, by id; ``{}`` where nothing is stored.

        Raises:
            InvalidArgumentError: The store was made with ``lexical=False`` and that side is asked.
            ModelMismatchError: The store's vectors were made by another model.
        """
        wanted = wanted_ids(ids, method="scores_by_side()")
        return dict(
            self._asked(
                query,
                scored,
                vector,
                lambda snapshot, sides: list(scores_by_id(snapshot, sides, wanted).items()),
            )
        )

    def _asked(
        self,
        query: str,
        names: Collection[SideName],
        given: FloatArray | None,
        search: Callable[[Snapshot, dict[SideName, Side]], list[Answer]],
    ) -> list[Answer]:
        """Search with some sides of one snapshot, embedding the query only where one needs its vector."""
        text = checked_query(query)

        def with_sides(snapshot: Snapshot, vector: FloatArray | None) -> list[Answer]:
            sides: dict[SideName, Side] = {}
            if "dense" in names and vector is not None:
                sides["dense"] = DenseSide(snapshot, vector)
            if "lexical" in names:
                sides["lexical"] = LexicalSide(self._lexicon(snapshot), text)
            return search(snapshot, sides)

        if "dense" in names and given is None:
            return self._engine.answer(text, with_sides)
        known = None if given is None else unit_query(given)
        with self._engine.snapshot() as snapshot:
            if known is not None:
                check_dimension(known, snapshot)
            return with_sides(snapshot, known)

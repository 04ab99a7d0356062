"""What a store answers without a vector: its documents, lexical search, its settings and its health."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor
from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever.errors import InvalidArgumentError, RerankError

from . import rows, schema
from .engine import Engine, Snapshot
from .filters import compile_filter
from .indexing import IndexInfo
from .lexical.frequencies import Moment
from .lexical.languages import Lexical
from .lexical.search import Lexicon
from .validation import checked_count, checked_query, wanted_ids
from .verify import VerifyResult, verify

Filter = Mapping[str, Any]
Scored = list[tuple[Document, float]]

#: From where a lexical search is at work up to the line that asked for it.
_ASKING = 3


class ReadableStore(VectorStore):
    """What FaissStore answers without a vector; every answer shows one state of the store."""

    _engine: Engine
    _path: Path | None
    _kinds: tuple[str, Lexical]

    @property
    def embeddings(self) -> Embeddings:
        """The model that queries and documents are embedded with."""
        return self._engine.model.embeddings

    def __len__(self) -> int:
        with self._engine.snapshot() as snapshot:
            return len(snapshot.view)

    def __bool__(self) -> bool:
        # Without this an empty store would be false, and `store or default` would drop it.
        return True

    def documents(self) -> Iterator[Document]:
        """Every document in order of insertion, a few hundred in memory at a time.

        Changes made while iterating are seen from the next few hundred on.
        """
        last = 0
        while True:
            with self._engine.snapshot() as snapshot:
                page = rows.after(snapshot.connection, last, rows.BATCH)
            if not page:
                return
            last = page[-1].pk
            for stored in page:
                yield stored.document()

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Documents by id, in the order of the ids, each once; an unknown id is left out."""
        wanted = wanted_ids(ids, method="get_by_ids()")
        with self._engine.snapshot() as snapshot:
            found = rows.by_ids(snapshot.connection, wanted)
        return [found[document_id].document() for document_id in wanted if document_id in found]

    def lexical_search(
        self,
        query: str,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002 - LangChain's name
    ) -> list[Document]:
        """The k documents that share the most telling terms with a query, best first.

        In a store of more than 16,384 documents, a query whose terms stand in more than so many is answered in bounded
        time: its rarer terms choose which documents are looked at, and the best of them are scored by all of its terms.
        The module ``lexical.search`` says how, and what may be missed.

        Args:
            query: Any text, taken as a bag of words; one without a word gives ``[]``.
            k: How many, at least 1; fewer where fewer documents have a term of the query.
            filter: Conditions on the metadata, applied before the search.

        Raises:
            InvalidArgumentError: The store was made with ``lexical=False``.
        """
        return only_documents(self.lexical_search_with_score(query, k, filter))

    def lexical_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002 - LangChain's name
    ) -> Scored:
        """As `lexical_search`, with BM25 scores above 0, higher is better."""
        text, count, condition = checked_query(query), checked_count(k, "k"), compile_filter(filter)
        with self._engine.snapshot() as snapshot:
            hits = self._lexicon(snapshot).search(text, count, condition)
            found = rows.by_pks(snapshot.connection, [pk for pk, _ in hits])
        return [(stored.document(), score) for stored, (_, score) in zip(found, hits)]

    def lexical_scores(self, query: str, ids: Sequence[str]) -> dict[str, float]:
        """BM25 scores of given documents: the very numbers that `lexical_search_with_score` would give them.

        Args:
            query: Any text.
            ids: Document ids; an unknown one is left out of the result, one without a term of the query
                has 0.0.
        """
        text, wanted = checked_query(query), wanted_ids(ids, method="lexical_scores()")
        with self._engine.snapshot() as snapshot:
            lexicon = self._lexicon(snapshot)
            found = rows.pks_of(snapshot.connection, wanted)
            scores = lexicon.scores(text, list(found.values()))
        return {name: scores.get(found[name], 0.0) for name in wanted if name in found}

    def _lexicon(self, snapshot: Snapshot) -> Lexicon:
        state = snapshot.state
        if not state.lexical:
            raise InvalidArgumentError("This store has no lexical index: it was made with lexical=False")
        analyzer = state.analyzer
        # Again, since another process may have changed over to other rules while this store is open.
        self._engine.check_rules(state.terms, analyzer, stacklevel=_ASKING)
        moment = Moment.seen(snapshot.connection, state.generation, state.seq)
        return Lexicon(snapshot.connection, analyzer, self._engine.frequencies, moment)

    async def alexical_search(
        self,
        query: str,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002 - LangChain's name
    ) -> list[Document]:
        """Async twin of `lexical_search`."""
        return await run_in_executor(None, self.lexical_search, query, k, filter)

    async def alexical_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002 - LangChain's name
    ) -> Scored:
        """Async twin of `lexical_search_with_score`; takes what `lexical_search` takes."""
        return await run_in_executor(None, self.lexical_search_with_score, query, k, filter)

    # Looking after --------------------------------------------------------------------------------

    @property
    def path(self) -> Path | None:
        """The store's folder; None for a store in memory."""
        return self._path

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the store was made with and whose vectors it holds.

        Keys: ``index``, ``lexical``, ``format``, and ``dimension``, ``model`` and ``fingerprint``, which
        are None while the store has no model.
        """
        with self._engine.snapshot() as snapshot:
            state = snapshot.state
        return MappingProxyType(
            {
                "index": state.index_kind,
                "lexical": state.lexical,
                "dimension": state.dimension,
                "model": state.model,
                "fingerprint": state.fingerprint,
                "format": schema.format_of(state.lexical),
            }
        )

    @property
    def revision(self) -> str:
        """What tells this state of texts and vectors from every other: another after each change of one of them.

        Metadata alone can change without it. A copy that `save_local` made has another, one of the closed store's files
        has the same.
        """
        with self._engine.snapshot() as snapshot:
            state = snapshot.state
        # A new text gets a new vector, whose change is counted; generations are drawn at random.
        return f"{state.generation:x}-{state.space}-{state.seq}"

    @property
    def has_lexical(self) -> bool:
        """Whether there is a lexical index, as it was known when the store was last read.

        Unlike `settings` this reads nothing, so that an event loop may ask it. Only a store of another kind that was
        saved over this one changes the answer, and the next search sees that.
        """
        return bool(self._engine.views.lexical)

    @property
    def index_info(self) -> IndexInfo:
        """How the store searches now: which kind of index, over what, how well, and whether it is still being made."""
        with self._engine.snapshot() as snapshot:
            return self._engine.views.info(snapshot.state.index_kind, snapshot.view)

    def wait_until_ready(self, timeout: float | None = None) -> IndexInfo:
        """Wait until the snapshot and the graph that are due have been made in the background.

        Searches are right without; they are exact, and slower, until a graph is ready. What cannot be made, on a full
        disk for example, is logged and not waited for any longer; it is tried again later in the background.

        Args:
            timeout: Seconds; None for as long as it takes.

        Returns:
            ``index_info``; ``busy`` where it takes longer, or has failed.
        """
        with self._engine.snapshot():
            pass  # What others have changed makes things due, too.
        # A disk may never be mended, and nobody should wait for that.
        self._engine.views.upkeep.wait(timeout, again=False)
        return self.index_info

    def verify(self, deep: bool = False) -> VerifyResult:
        """Check that the store is whole.

        Args:
            deep: Also read every document and vector and compare all that is derived from them.

        Returns:
            ``ok`` and ``problems``; damage is reported here, not raised.
        """
        return verify(self._engine, deep=deep)

    def __copy__(self) -> Self:
        """Return itself: a store is a service, not a value."""
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        """Return itself, see `__copy__`; so retrievers over a store can be copied."""
        return self

    def close(self) -> None:
        """Let go of files and memory; may be called again. Everything else then raises ClosedError."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        index, lexical = self._kinds
        place = "in memory" if self._path is None else f"path={str(self._path)!r}"
        try:
            content = f"documents={len(self)}"
        except RerankError as error:
            content = "closed" if self._engine.connections.closed else f"unreadable: {error}"
        settings = f"index={index!r}, lexical={lexical!r}, model={self._engine.model.name}"
        return f"FaissStore({place}, {content}, {settings})"


def only_documents(scored: Scored) -> list[Document]:
    """Without the scores."""
    return [document for document, _ in scored]

"""Rows into LangChain's PostgreSQL store by COPY: its own `add_embeddings` inserts and commits row by row.

The rows go into a temporary table, and from there into the store's, where they replace rows of the same id. All of it
is one transaction on a connection of the store's own engine, whichever driver that uses.
"""

import json
import struct
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from langchain_rerank_retriever.errors import InvalidArgumentError, brought_by
from langchain_rerank_retriever.protocols import FloatArray

#: Rows sent at a time: with texts and vectors, about a megabyte.
_ROWS = 256
_STAGED = "langchain_rerank_copied"
#: Of PostgreSQL's binary COPY: the signature, no flags and no extension; and the end.
_BEGIN, _END = b"PGCOPY\n\xff\r\n\0" + bytes(8), struct.pack(">h", -1)


def can_copy(store: object) -> bool:
    """Whether a store is LangChain's `PGVectorStore`, laid out inside as this module knows it."""
    # A store of a package that was never imported is none of its stores.
    kind = getattr(sys.modules.get("langchain_postgres"), "PGVectorStore", None)
    return kind is not None and isinstance(store, kind) and _table(store) is not None


def copy_embeddings(
    store: Any,
    texts: Sequence[str],
    embeddings: FloatArray,
    metadatas: Sequence[Mapping[str, Any]] | None = None,
    *,
    ids: Sequence[str],
) -> list[str]:
    """Do what the `add_embeddings` of LangChain's `PGVectorStore` does, many times faster, and all of it or nothing.

    Args:
        store: A `PGVectorStore`.
        texts: One per document.
        embeddings: One vector per document, shape ``(n, d)``.
        metadatas: One per document.
        ids: One per document, each once; what the store has of them is replaced.

    Returns:
        The ids.

    Raises:
        MissingExtraError: The extra ``postgres`` is not installed.
        InvalidArgumentError: The store is no `PGVectorStore`, or there is not one of each per id.
        Exception: What the database refuses, in the words of its driver; nothing was changed.
    """
    with brought_by("postgres", "langchain-postgres"):
        import langchain_postgres
    inner = _table(store) if isinstance(store, langchain_postgres.PGVectorStore) else None
    if inner is None:
        raise InvalidArgumentError(
            f"store must be a PGVectorStore of langchain-postgres, got {type(store).__name__}. Add to other stores by "
            "their own add_embeddings()."
        )
    known = [{}] * len(ids) if metadatas is None else metadatas
    if not len(ids) == len(texts) == len(embeddings) == len(known):
        raise InvalidArgumentError(
            f"Expected one text, vector and metadata for each of {len(ids)} ids, got {len(texts)}, {len(embeddings)} "
            f"and {len(known)}."
        )
    if len(ids):
        rows = _rows(inner, ids, texts, np.asarray(embeddings), known)
        store._engine._run_as_sync(_copy(inner, rows))
    return list(ids)


def stored_vectors(store: Any, ids: Sequence[str]) -> dict[str, FloatArray]:
    """Return the vectors of some documents by id, shape ``(d,)``, float32; unknown ids are left out."""
    if not ids:
        return {}
    vectors: dict[str, FloatArray] = store._engine._run_as_sync(_vectors(_table(store), ids))
    return vectors


def _table(store: Any) -> Any:
    """Return what knows the names of a store's table and columns; None where this version keeps it elsewhere."""
    # There is no public way; the other private name used here is the engine's.
    inner = getattr(store, "_PGVectorStore__vs", None)
    needed = ("engine", "schema_name", "table_name", "id_column", "content_column", "embedding_column")
    optional = ("metadata_columns", "metadata_json_column", "hybrid_search_config")
    runs = hasattr(getattr(store, "_engine", None), "_run_as_sync")
    return inner if runs and all(hasattr(inner, name) for name in (*needed, *optional)) else None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _name(inner: Any) -> str:
    return f"{_quoted(inner.schema_name)}.{_quoted(inner.table_name)}"


async def _vectors(inner: Any, ids: Sequence[str]) -> dict[str, FloatArray]:
    from sqlalchemy import text

    column, given = _quoted(inner.id_column), {f"id_{place}": key for place, key in enumerate(ids)}
    statement = (
        f"SELECT {column}, CAST({_quoted(inner.embedding_column)} AS text) FROM {_name(inner)} "  # noqa: S608 - names
        f"WHERE {column} IN ({', '.join(f':{name}' for name in given)})"
    )
    async with inner.engine.connect() as connection:
        found = (await connection.execute(text(statement), given)).fetchall()
    return {str(key): np.array(json.loads(vector), np.float32) for key, vector in found if vector is not None}


async def _copy(inner: Any, rows: Iterator[bytes]) -> None:
    from sqlalchemy import text

    types = (
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = CAST(:name AS regclass) AND attnum > 0 AND NOT attisdropped"
    )
    staged = (
        f"CREATE TEMPORARY TABLE {_STAGED} (id text, content text, embedding vector, metadata text, columns text) "
        "ON COMMIT DROP"
    )
    async with inner.engine.begin() as connection:
        known = dict((await connection.execute(text(types), {"name": _name(inner)})).fetchall())
        await connection.execute(text(staged))
        await _send((await connection.get_raw_connection()).driver_connection, rows)
        await connection.execute(text(_upsert(inner, known)))


async def _send(connection: Any, rows: Iterator[bytes]) -> None:
    if hasattr(connection, "copy_to_table"):  # asyncpg

        async def all_rows() -> AsyncIterator[bytes]:
            for part in rows:
                yield part

        await connection.copy_to_table(_STAGED, source=all_rows(), format="binary")
        return
    async with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {_STAGED} FROM STDIN (FORMAT BINARY)") as copy,
    ):
        for part in rows:
            await copy.write(part)


def _upsert(inner: Any, types: Mapping[str, str]) -> str:
    """The statement that takes the rows over: columns by name, each with where its value comes from."""
    values = {
        inner.id_column: f"CAST(s.id AS {types[inner.id_column]})",
        inner.content_column: "s.content",
        inner.embedding_column: f"CAST(s.embedding AS {types[inner.embedding_column]})",
    }
    hybrid = inner.hybrid_search_config
    if hybrid and hybrid.tsv_column:
        language = f"'{hybrid.tsv_lang}', " if hybrid.tsv_lang else ""
        values[hybrid.tsv_column] = f"to_tsvector({language}s.content)"
    if inner.metadata_json_column:
        kind = types[inner.metadata_json_column]
        values[inner.metadata_json_column] = f"CAST(s.metadata AS {kind})"
    source = f"{_STAGED} AS s"
    if inner.metadata_columns:
        # PostgreSQL turns JSON into the types of the columns.
        source += f", jsonb_populate_record(CAST(NULL AS {_name(inner)}), CAST(s.columns AS jsonb)) AS r"
        values.update((name, f"r.{_quoted(name)}") for name in inner.metadata_columns)
    replaced = [_quoted(name) for name in values if name != inner.id_column]
    return (
        f"INSERT INTO {_name(inner)} ({', '.join(map(_quoted, values))}) "  # noqa: S608 - names, no values
        f"SELECT {', '.join(values.values())} FROM {source} "
        f"ON CONFLICT ({_quoted(inner.id_column)}) DO UPDATE SET "
        + ", ".join(f"{name} = EXCLUDED.{name}" for name in replaced)
    )


def _rows(
    inner: Any,
    ids: Sequence[str],
    texts: Sequence[str],
    vectors: FloatArray,
    metadatas: Sequence[Mapping[str, Any]],
) -> Iterator[bytes]:
    """Yield the rows as binary COPY takes them, many at a time."""
    columns = set(inner.metadata_columns)
    # pgvector's: the dimension and two bytes of zero, then the numbers.
    begin = struct.pack(">hh", vectors.shape[1], 0)
    numbers = np.ascontiguousarray(vectors, ">f4")
    yield _BEGIN
    for start in range(0, len(ids), _ROWS):
        part = bytearray()
        for place in range(start, min(start + _ROWS, len(ids))):
            own = {key: value for key, value in metadatas[place].items() if key in columns}
            rest = {key: value for key, value in metadatas[place].items() if key not in columns}
            told = (ids[place], texts[place], json.dumps(rest), json.dumps(own))
            key, content, metadata, apart = (one.encode() for one in told)
            vector = begin + numbers[place].tobytes()
            part += struct.pack(">h", 5)
            for value in (key, content, vector, metadata, apart):
                part += struct.pack(">i", len(value)) + value
        yield bytes(part)
    yield _END

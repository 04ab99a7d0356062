"""Find an id that two shards have, in bounded memory."""

from array import array
from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from langchain_rerank_retriever.distributed.shards import ShardFolder
from langchain_rerank_retriever.errors import DataError

#: Ids whose hashes are in memory at once. Each takes ten bytes at most: half a gigabyte.
AT_ONCE = 50_000_000


def check_unique(folder: ShardFolder, shards: int, rows: int) -> None:
    """Make sure that no id is in two shards: a store would keep only one of the two documents.

    The ids are read once for each `AT_ONCE` of them.

    Raises:
        DataError: Names the id and the shards.
    """
    passes = max(1, -(-rows // AT_ONCE))
    for which in range(passes):
        kept = array("q")
        for part in map(_hashes, _ids(folder, shards)):
            # It grows where it lies; putting arrays together would take the same again.
            kept.frombytes(part[part % passes == which].tobytes())
        doubtful = _repeated(np.frombuffer(kept, np.int64) if kept else _hashes([]))
        if doubtful.size:
            _refuse_repeated(folder, shards, doubtful)


def _repeated(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what is there more than once; sorts the values where they lie."""
    values.sort()
    return np.unique(values[1:][values[1:] == values[:-1]])


def _refuse_repeated(folder: ShardFolder, shards: int, doubtful: NDArray[np.int64]) -> None:
    """Tell ids that are the same from those that have the same hash by chance."""
    found: dict[str, int] = {}
    for number, ids in enumerate(_ids(folder, shards)):
        for place in np.flatnonzero(np.isin(_hashes(ids), doubtful)):
            key = ids[place]
            if key in found:
                raise DataError(
                    f"The id {key!r} is in shard {found[key]} and in shard {number}. Give each document its own id, "
                    "and give another output folder."
                )
            found[key] = number


def _ids(folder: ShardFolder, shards: int) -> Iterator[list[str]]:
    for number in range(shards):
        yield pq.read_table(folder.shard(number), columns=["id"]).column("id").to_pylist()


def _hashes(ids: list[str]) -> NDArray[np.int64]:
    return np.fromiter((hash(key) for key in ids), np.int64, len(ids))

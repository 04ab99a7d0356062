"""What `encode_corpus` wrote, as it is read again."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langchain_rerank_retriever.distributed.encoding import JOB
from langchain_rerank_retriever.distributed.shard_file import read_first, read_header, read_shard
from langchain_rerank_retriever.distributed.shards import ShardFolder
from langchain_rerank_retriever.errors import FormatError
from langchain_rerank_retriever.protocols import FloatArray


@dataclass(frozen=True, slots=True)
class EncodedShard:
    """The documents of a shard.

    Attributes:
        number: From 0.
        ids: One per document.
        texts: One per document.
        metadatas: One per document.
        vectors: Shape ``(n, d)``, float32, as the model gave them.
    """

    number: int
    ids: list[str]
    texts: list[str]
    metadatas: list[dict[str, Any]]
    vectors: FloatArray


@dataclass(frozen=True, slots=True)
class Sample:
    """A document by whose vector the model is told, where models have no name of their own.

    Attributes:
        number: Of the shard that it is the first of.
        text: Its text.
        vector: Shape ``(d,)``, float32.
    """

    number: int
    text: str
    vector: FloatArray


def encoded_shards(folder: str | Path) -> Iterator[EncodedShard]:
    """Read what `encode_corpus` wrote, one shard in memory at a time.

    Raises:
        FormatError: The folder is not of `encode_corpus`, not complete, or damaged; names the shard.
    """
    encoded = EncodedFolder(folder)
    for number in range(encoded.shards):
        yield encoded.shard(number)


class EncodedFolder:
    """A complete folder of `encode_corpus`.

    Attributes:
        model: What made the vectors, as the manifest has it.
        model_name: The same in words.
        digest: Of the rows, without their vectors.
        shards: How many there are.

    Raises:
        FormatError: The folder is not of `encode_corpus`, or not complete.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = ShardFolder(Path(folder).expanduser())
        manifest = self._folder.manifest
        if manifest.get("job") != JOB:
            raise FormatError(
                f"{self.path} holds shards of the job {manifest.get('job')!r}, expected {JOB!r}."
            )
        if not manifest.get("complete"):
            raise FormatError(
                f"{self.path} is not complete. Call encode_corpus again, which goes on where it was."
            )
        try:
            self.model, self.model_name = str(manifest["model"]), str(manifest["model_name"])
            self.digest, self.shards = (
                str(manifest["complete"]["sha256"]),
                int(manifest["complete"]["shards"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"The manifest of {self.path} is damaged: {error}.") from error

    @property
    def path(self) -> Path:
        """Where the shards lie."""
        return self._folder.path

    def shard(self, number: int) -> EncodedShard:
        """Read a shard and check its content.

        Raises:
            FormatError: It is damaged.
        """
        try:
            _, table = read_shard(self._folder.shard(number))
        except FormatError as error:
            raise self._damaged(error) from error
        column = table.column("vector").combine_chunks()
        return EncodedShard(
            number,
            table.column("id").to_pylist(),
            table.column("text").to_pylist(),
            [json.loads(one) for one in table.column("metadata").to_pylist()],
            column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), column.type.list_size),
        )

    def rows(self, number: int) -> int:
        """How many documents a shard has, by its footer.

        Raises:
            FormatError: It is cut off, or no shard.
        """
        try:
            return read_header(self._folder.shard(number)).rows
        except FormatError as error:
            raise self._damaged(error) from error

    def sample(self, number: int) -> Sample | None:
        """Return the first document of a shard, None where there is no such shard or it has no document.

        Raises:
            FormatError: It is damaged there.
        """
        if number >= self.shards:
            return None
        try:
            row = read_first(self._folder.shard(number), ["text", "vector"])
        except FormatError as error:
            raise self._damaged(error) from error
        return None if row is None else Sample(number, row["text"], np.array(row["vector"], np.float32))

    @staticmethod
    def _damaged(error: FormatError) -> FormatError:
        return FormatError(f"{error} Call encode_corpus again with verify=True, which makes this shard anew.")


def same_vector(one: FloatArray, other: FloatArray) -> bool:
    """Whether two vectors are of the same model and text; lengths do not count, since some stores change them.

    A model that was trained further moves a text's vector by more than a store's half precision does.
    """
    if one.shape != other.shape:
        return False
    wide = [np.asarray(vector, np.float64) for vector in (one, other)]
    lengths = float(np.prod([np.linalg.norm(vector) for vector in wide]))
    return lengths > 0 and float(wide[0] @ wide[1]) >= 0.9999 * lengths

"""Which shards a store has that cannot tell it by itself."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langchain_rerank_retriever.distributed.encoded import EncodedFolder, same_vector
from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError, ModelMismatchError
from langchain_rerank_retriever.files import written_whole

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Part:
    """Every `of`-th shard from `first` on.

    Attributes:
        first: From 0.
        of: How many parts there are.
    """

    first: int
    of: int

    def numbers(self, shards: int) -> range:
        """Numbers of its shards."""
        return range(self.first, shards, self.of)


class Ledger:
    """A file that keeps which shards a store has, and which one it may have in part.

    Args:
        path: The file; made with the first shard.
        encoded: What is loaded.
        part: Which part of it.

    Attributes:
        done: Numbers of the shards that were added.
        begun: The one that was begun and not finished.

    Raises:
        FormatError: The file is no ledger, or of a newer version.
        InvalidArgumentError: It is of other shards or of another part, or of an earlier version, which did not keep
            whose vectors were loaded.
        ModelMismatchError: It is of vectors that another model made.
    """

    def __init__(self, path: Path, encoded: EncodedFolder, part: Part) -> None:
        self._path, self._encoded, self._part = path, encoded, part
        self.done: set[int] = set()
        self.begun: int | None = None
        self._identity = self._expected()
        if path.exists():
            self._read()

    def _expected(self) -> dict[str, Any]:
        sample = self._encoded.sample(self._part.first)
        # One entry of all, so that versions that know the rows alone refuse it.
        return {
            "rows": self._encoded.digest,
            "model": self._encoded.model,
            "model_name": self._encoded.model_name,
            "part": [self._part.first, self._part.of],
            "sample": None if sample is None else sample.vector.tolist(),
        }

    def _read(self) -> None:
        try:
            earlier = json.loads(self._path.read_text(encoding="utf-8"))
            known, self.done, self.begun = earlier["shards_of"], set(earlier["done"]), earlier["begun"]
            newer = earlier.get("format", 1) > FORMAT
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"{self._path} is no ledger of load_shards: {error}.") from error
        if newer:
            raise FormatError(f"{self._path} was written by a newer version of this package. Upgrade it.")
        if isinstance(known, str):
            raise InvalidArgumentError(
                f"{self._path} is the ledger of an earlier version, which did not keep which model's vectors were "
                "loaded. It is not gone on with: empty the store, remove this file, and load again."
            )
        try:
            self._check(known)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InvalidArgumentError | ModelMismatchError):
                raise
            raise FormatError(f"{self._path} is no ledger of load_shards: {error}.") from error

    def _check(self, known: dict[str, Any]) -> None:
        if known["rows"] != self._identity["rows"]:
            raise InvalidArgumentError(
                f"{self._path} is the ledger of other shards than those given now. Give another file for these."
            )
        if not self._same_model(known):
            expected, got = (f"{one['model_name']} ({one['model']})" for one in (known, self._identity))
            raise ModelMismatchError(
                f"{self._path} is the ledger of a store with vectors of {expected}, and these shards are of {got}, of "
                "which a sample differs. Vectors of two models cannot be compared: load these into an empty store, "
                "with another ledger.",
                expected=expected,
                got=got,
            )
        if known["part"] != self._identity["part"]:
            (first, of), (got_first, got_of) = known["part"], self._identity["part"]
            raise InvalidArgumentError(
                f"{self._path} is the ledger of part=({first}, {of}), got part=({got_first}, {got_of}). Give each "
                "part a file of its own, and divide the shards as they were divided before."
            )

    def _same_model(self, known: dict[str, Any]) -> bool:
        if known["model"] != self._identity["model"]:
            return False
        # A model without a fingerprint is named by its class. Parts begin with different shards.
        if known["part"] != self._identity["part"] or self._identity["sample"] is None:
            return True
        return same_vector(
            np.array(known["sample"], np.float32), np.array(self._identity["sample"], np.float32)
        )

    def begin(self, number: int) -> None:
        """Note that a shard is about to be added."""
        self.begun = number
        self._write()

    def finish(self, number: int) -> None:
        """Note that a shard is added."""
        self.begun = None
        self.done.add(number)
        self._write()

    def _write(self) -> None:
        told = {
            "format": FORMAT,
            "shards_of": self._identity,
            "done": sorted(self.done),
            "begun": self.begun,
        }
        with written_whole(self._path) as file:
            json.dump(told, file)

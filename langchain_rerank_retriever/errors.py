"""Every error this package raises on purpose, as one tree.

    RerankError
    ├── InvalidArgumentError   (ValueError)    a wrong argument: says expected, got and the fix
    │   └── FilterError                        a metadata filter that cannot be read
    ├── InvalidDocumentError   (ValueError)    a text, id, vector or metadata that cannot be stored
    ├── DataError              (ValueError)    training or evaluation data that cannot be used
    ├── ModelLoadError         (ValueError)    a model that is not there or cannot be loaded
    ├── ModelMismatchError     (ValueError)    vectors of one model meet an index of another
    ├── MissingExtraError      (ImportError)   an optional package is not installed
    ├── StorageError           (OSError)       a folder or file cannot be read or written
    │   ├── FormatError                        not ours, damaged, or of a newer version
    │   └── ReadOnlyError                      a change was asked of something opened read-only
    ├── RecallError            (RuntimeError)  a source of candidates failed, or gave what is no document
    ├── ScoringError           (RuntimeError)  a model gave no number, or not as many as asked for
    ├── RetrieverError         (RuntimeError)  a retriever failed while it was evaluated
    ├── LaunchError            (RuntimeError)  another process of the same launch failed or is gone
    ├── ShardError             (RuntimeError)  the workers of a cluster could not do their part of a job
    ├── OverloadedError        (RuntimeError)  more waits for a model than it keeps
    └── ClosedError            (RuntimeError)  used after close()

Every message says what was expected, what was got, and what helps. Catch `RerankError` for whatever goes wrong in a
call of ours, or the built-in class beside the name in the tree:

```python
from langchain_rerank_retriever import RerankRetriever
from langchain_rerank_retriever.errors import FilterError, RerankError

retriever = RerankRetriever.from_documents(documents, embeddings=any_embeddings)
try:
    retriever.invoke("gift cards", filter={"year": {"$above": 2024}})
except RerankError as error:
    print(type(error) is FilterError, isinstance(error, ValueError))  # True True
```

The names by who meets them:

* whoever calls: `InvalidArgumentError`, `FilterError`, `InvalidDocumentError`, `ClosedError`, `OverloadedError`;
* whoever sets up: `ModelLoadError`, `ModelMismatchError`, `MissingExtraError`, and of folders `StorageError`,
  `FormatError`, `ReadOnlyError` (`langchain_rerank_retriever.store`, `langchain_rerank_retriever.bundle`);
* whoever tunes or measures: `DataError`, `RetrieverError`, `LaunchError`, `ShardError`
  (`langchain_rerank_retriever.training`, `langchain_rerank_retriever.evaluation`);
* whoever brings parts of their own: `RecallError`, `ScoringError` (`langchain_rerank_retriever.recall`).

The command line tells each in one line and exits with 2 (`langchain_rerank_retriever.cli`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "ClosedError",
    "DataError",
    "FilterError",
    "FormatError",
    "InvalidArgumentError",
    "InvalidDocumentError",
    "LaunchError",
    "MissingExtraError",
    "ModelLoadError",
    "ModelMismatchError",
    "OverloadedError",
    "ReadOnlyError",
    "RecallError",
    "RerankError",
    "RetrieverError",
    "ScoringError",
    "ShardError",
    "StorageError",
]


class RerankError(Exception):
    """The base of every error that this package raises on purpose."""


class InvalidArgumentError(RerankError, ValueError):
    """An argument is outside what the call accepts; nothing was changed."""


class FilterError(InvalidArgumentError):
    """A metadata filter has an unknown operator or an operand that the operator cannot take."""


class InvalidDocumentError(RerankError, ValueError):
    """A text, id, vector or metadata value cannot be stored; nothing was changed."""


class DataError(RerankError, ValueError):
    """Training or evaluation data cannot be used; the message names the row and the column."""


class ModelLoadError(RerankError, ValueError):
    """A model folder or hub name does not lead to a model that can be loaded."""


class ModelMismatchError(RerankError, ValueError):
    """Two different models meet where one is needed.

    Attributes:
        expected: What made the vectors that are stored.
        got: What was passed in.
    """

    def __init__(self, message: str, *, expected: str, got: str) -> None:
        super().__init__(message)
        self.expected = expected
        self.got = got


class MissingExtraError(RerankError, ImportError):
    """An optional dependency is used but not installed.

    Attributes:
        extra: The name of the extra that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This needs the package '{package}', which is not installed. "
            f'Install it with: pip install "langchain-rerank-retriever[{extra}]"'
        )
        self.extra = extra


@contextmanager
def brought_by(extra: str, package: str) -> Iterator[None]:
    """Import a package of an extra, in the block.

    Args:
        extra: The name of the extra.
        package: The name that the package is installed by.

    Raises:
        MissingExtraError: It is not installed, or something that it needs is not. One that is installed and cannot be
            imported for another reason raises what it raises.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(package, extra) from error


@contextmanager
def valid_fields(name: str) -> Iterator[None]:
    """Give the fields of a pydantic model their values, in the block.

    Args:
        name: Of the class.

    Raises:
        InvalidArgumentError: A field is missing, unknown, or has a value that it cannot have; names each.
    """
    # Not at the top, since the command's --help needs errors and nothing else.
    from pydantic import ValidationError

    try:
        yield
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg']}" for one in error.errors()
        )
        raise InvalidArgumentError(f"{name} cannot be made: {problems}.") from error


class StorageError(RerankError, OSError):
    """A folder or file cannot be read or written; what was stored before still is."""


class FormatError(StorageError):
    """What lies at a path is not ours, is damaged, or was written by a newer version."""


class ReadOnlyError(StorageError):
    """A change was asked of a store or bundle that was opened read-only."""


class RecallError(RerankError, RuntimeError):
    """A store or retriever that candidates are recalled from failed; the cause, if there is one, is what it raised.

    Attributes:
        source: Its kind, and its place where it is one of several.
    """

    def __init__(self, message: str, *, source: str) -> None:
        super().__init__(message)
        self.source = source


class ScoringError(RerankError, RuntimeError):
    """A model returned something that is no finite number, or not one per input."""


class RetrieverError(RerankError, RuntimeError):
    """A retriever raised while it was evaluated; the cause is what it raised.

    Attributes:
        query_id: The query on which it did.
    """

    def __init__(self, message: str, *, query_id: str) -> None:
        super().__init__(message)
        self.query_id = query_id


class LaunchError(RerankError, RuntimeError):
    """Another process of the same launch failed, is gone or did not answer, so this one cannot go on either."""


class ShardError(RerankError, RuntimeError):
    """The workers of a cluster could not make a shard of a job; those that are made are kept."""


class OverloadedError(RerankError, RuntimeError):
    """So much waits for a model that more was refused; nothing of the refused call has run.

    Attributes:
        waiting: Inputs that waited when the call came.
    """

    def __init__(self, message: str, *, waiting: int) -> None:
        super().__init__(message)
        self.waiting = waiting


class ClosedError(RerankError, RuntimeError):
    """A model or store was used after it was closed."""

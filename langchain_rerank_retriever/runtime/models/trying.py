"""Uses a model that was just loaded for the first time, when all that is wrong with its files shows."""

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_rerank_retriever.errors import ModelLoadError


@contextmanager
def tried(fault: str, remedy: str) -> Iterator[None]:
    """Tell what the block raises as a fault of the model.

    Args:
        fault: What the model does wrong then, a sentence without its full stop.
        remedy: What helps, a sentence.

    Raises:
        ModelLoadError: Whatever else was raised. The panics of tokenizers are no Exception, so this takes more than
            those; being stopped and want of memory are nothing of the model's.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise ModelLoadError(f"{fault} ({type(error).__name__}: {error}). {remedy}") from error

"""Writing a model's folder whole or not at all."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_rerank_retriever.errors import InvalidArgumentError, StorageError
from langchain_rerank_retriever.files import is_missing_or_empty, move_into_place, scratch_folder
from langchain_rerank_retriever.runtime.models.quiet import quiet

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel


def save_atomically(model: "BaseModel", folder: str | Path, *, show_progress: bool = False) -> Path:
    """Write what sentence-transformers loads into a new folder: built beside it, then renamed into place.

    Args:
        model: What to write.
        folder: Where.
        show_progress: Whether transformers may draw its bars on stderr.

    Returns:
        The folder.

    Raises:
        InvalidArgumentError: The folder exists and is not empty.
        StorageError: It cannot be written; nothing is left behind.
    """
    from safetensors import SafetensorError

    target = Path(folder).expanduser().absolute()
    check_free(target)
    try:
        with scratch_folder(target) as scratch, nullcontext() if show_progress else quiet():
            model.save_pretrained(str(scratch), create_model_card=False)
            # Replaces an empty folder; fails on one that another process has filled meanwhile.
            move_into_place(scratch, target)
    except (OSError, SafetensorError) as error:
        # A full disk comes as the second: weights are written by a library of its own.
        raise StorageError(f"The model cannot be saved to '{target}' ({error}).") from error
    return target


def check_free(target: Path) -> None:
    """Refuse to write over something.

    Raises:
        InvalidArgumentError: A file, or a folder that is not empty.
    """
    if not is_missing_or_empty(target):
        raise InvalidArgumentError(
            f"'{target}' exists and is not empty. Expected a new or empty folder: choose another, or remove it first."
        )

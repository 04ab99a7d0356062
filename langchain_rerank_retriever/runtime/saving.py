"""Writing a model's folder whole or not at all."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_rerank_retriever.errors import InvalidArgumentError, StorageError
from langchain_rerank_retriever.runtime.loading import quiet

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel


def save_atomically(model: "BaseModel", folder: str | Path) -> Path:
    """Write what sentence-transformers loads into a new folder: built beside it, then renamed into place.

    Returns:
        The folder.

    Raises:
        InvalidArgumentError: The folder exists and is not empty.
        StorageError: It cannot be written; nothing is left behind.
    """
    target = Path(folder).expanduser().absolute()
    check_free(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise StorageError(f"The folder '{target}' cannot be made ({error}).") from error
    try:
        building.chmod(0o755)
        with quiet():
            model.save_pretrained(str(building), create_model_card=False)
        # Replaces an empty folder; fails on one that another process has filled meanwhile.
        building.rename(target)
    except OSError as error:
        raise StorageError(f"The model cannot be saved to '{target}' ({error}).") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def check_free(target: Path) -> None:
    """Refuse to write over something.

    Raises:
        InvalidArgumentError: A file, or a folder that is not empty.
    """
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise InvalidArgumentError(
            f"'{target}' exists and is not empty. Expected a new or empty folder: choose another, or remove "
            "it first."
        )

"""What lies in a bundle, looked at without loading a model: its store, its texts' scripts, its models' sizes."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from langchain_rerank_retriever.store import FaissStore, IndexInfo

#: Documents, and characters of each, whose scripts are counted.
SAMPLE, CHARACTERS = 200, 1000
#: Scripts with a smaller share of the letters are left out.
LEAST_SHARE = 0.01
#: More than any configuration of a model.
CONFIG_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Contents:
    """What a store holds.

    Attributes:
        index: How it searches.
        lexical: Whether there is a lexical index, or its language.
        model: What embedded the documents, in words; None where there are none yet.
        scripts: Share of the letters by script, of the first documents.
    """

    index: IndexInfo
    lexical: bool | str
    model: str | None
    scripts: dict[str, float]

    @classmethod
    def of(cls, store: FaissStore) -> "Contents":
        """Look at a store."""
        settings = store.settings
        scripts = scripts_of(islice(store.documents(), SAMPLE))
        return cls(store.index_info, settings["lexical"], settings["model"], scripts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self.index) | {"lexical": self.lexical, "model": self.model, "scripts": self.scripts}

    def lines(self) -> Iterator[tuple[str, str]]:
        """Say it in words."""
        sampled = min(SAMPLE, self.index.rows)
        yield "documents", f"{self.index.rows:,}" + (f", embedded by {self.model}" if self.model else "")
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in self.scripts.items())
        kind = "lexical index for English and more" if self.lexical else "no lexical index"
        if isinstance(self.lexical, str):
            kind = f"lexical index for {self.lexical}"
        yield "languages", f"{shares} of the letters in the first {sampled}; {kind}" if shares else kind


def scripts_of(documents: Iterable[Document]) -> dict[str, float]:
    """Count the letters of texts by script, the most first."""
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update(map(_script, filter(str.isalpha, document.page_content[:CHARACTERS])))
    total = sum(counts.values())
    shares = {name: round(count / total, 4) for name, count in counts.most_common()}
    return {name: share for name, share in shares.items() if share >= LEAST_SHARE}


def _script(letter: str) -> str:
    # A letter's name begins with its script: LATIN SMALL LETTER A, HANGUL SYLLABLE GA, CJK UNIFIED IDEOGRAPH-4E00.
    name = unicodedata.name(letter, "OTHER").split()[0]
    return "Han" if name == "CJK" else name.capitalize()


def size_of(folder: Path) -> str | None:
    """Say how large a saved model is, as far as its files tell."""
    path = folder / "config.json"
    try:
        # A link leads elsewhere, a device or a pipe could be read for ever, what is too large would fill the memory.
        if path.is_symlink() or not path.is_file() or path.stat().st_size > CONFIG_BYTES:
            return None
        config = json.loads(path.read_text(encoding="utf-8"))
        layers, width = config["num_hidden_layers"], config["hidden_size"]
        return f"{config['model_type']} of {int(layers)} layers, {int(width)} wide"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # Other architectures name these otherwise; a bundle is as good without.

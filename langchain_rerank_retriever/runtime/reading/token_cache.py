"""Tokens of texts that come back: the passages of a corpus, query after query."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: 16 MB of token ids: sixteen thousand passages of 200 tokens, the candidates of most queries to a corpus ten times
#: as large.
CACHED_TOKENS = 4_000_000
#: What an entry takes beside its tokens, in tokens: about 256 bytes of key, array and dictionary.
ENTRY_TOKENS = 64


class Tokens(NamedTuple):
    """A text's token ids without special tokens.

    Attributes:
        ids: Shape ``(at most length,)``, int32: as many as a model can read.
        length: How many the text has.
    """

    ids: NDArray[np.int32]
    length: int


class TokenCache:
    """Reads each text once and keeps its tokens; the least recently used are forgotten first.

    Texts are known by a digest, so that the texts themselves are not kept. Not safe to share between threads.

    Args:
        read: Tokenises texts.
        budget: Tokens to keep, each entry counting some more for itself.
    """

    def __init__(
        self, read: Callable[[Sequence[str]], Iterable[Tokens]], *, budget: int = CACHED_TOKENS
    ) -> None:
        self._read = read
        self._budget = budget
        self._entries: OrderedDict[bytes, Tokens] = OrderedDict()
        self._held = 0

    def get(self, texts: Iterable[str]) -> dict[str, Tokens]:
        """Return the tokens of each text, by text."""
        keys = {text: blake2b(text.encode(), digest_size=16).digest() for text in dict.fromkeys(texts)}
        found: dict[str, Tokens] = {}
        for text, key in keys.items():
            tokens = self._entries.get(key)
            if tokens is not None:
                self._entries.move_to_end(key)
                found[text] = tokens
        missing = [text for text in keys if text not in found]
        if missing:
            for text, tokens in zip(missing, self._read(missing), strict=True):
                found[text] = tokens
                self._keep(keys[text], tokens)
        return found

    def _keep(self, key: bytes, tokens: Tokens) -> None:
        self._entries[key] = tokens
        self._held += _weight(tokens)
        while self._held > self._budget:
            _, forgotten = self._entries.popitem(last=False)
            self._held -= _weight(forgotten)


def _weight(tokens: Tokens) -> int:
    return len(tokens.ids) + ENTRY_TOKENS

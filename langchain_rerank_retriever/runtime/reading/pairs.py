"""Pairs put together from texts that were tokenised on their own, exactly as their tokenizer would."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from langchain_rerank_retriever.runtime.reading.token_cache import TokenCache, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = NDArray[np.int32]

#: A tokenizer whose model has no limit names 10**30 as one, and no model reads as many tokens as this.
NO_LIMIT = 10**9
#: Cutting is compared at this many tokens, so that comparing is quick whatever the model's own limit is.
COMPARED_LIMIT = 32


class Pair(NamedTuple):
    """One pair, tokenised.

    Attributes:
        columns: What the tokenizer gives but the attention mask, which is all ones: ``input_ids``, and
            ``token_type_ids`` where the model has them.
        truncated: Whether tokens were left out.
    """

    columns: dict[str, Ids]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Template:
    """What a tokenizer puts around the two texts of a pair.

    Attributes:
        before: Special tokens before the first text.
        between: Special tokens between the texts.
        after: Special tokens after the second text.
        types: Token types: of each special token, and of all tokens of each text, in their order; ``None`` where
            the tokenizer gives none.
    """

    before: Ids
    between: Ids
    after: Ids
    types: Ids | None

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase") -> Self | None:
        """Look at a pair of two short texts; ``None`` where it has another form."""
        encoded = tokenizer(["a"], ["b"], truncation=False, verbose=False)
        owners = encoded.sequence_ids(0)
        first = [place for place, owner in enumerate(owners) if owner == 0]
        second = [place for place, owner in enumerate(owners) if owner == 1]
        if not first or not second or first[-1] > second[0]:
            return None
        ids = np.array(encoded["input_ids"][0], dtype=np.int32)
        types = None
        if "token_type_ids" in encoded:
            # One for each special token, and one for each of the texts.
            kept = [place for place in range(len(ids)) if place not in (*first[1:], *second[1:])]
            types = np.array(encoded["token_type_ids"][0], dtype=np.int32)[kept]
        return cls(ids[: first[0]], ids[first[-1] + 1 : second[0]], ids[second[-1] + 1 :], types)

    @property
    def special(self) -> int:
        """How many special tokens there are."""
        return len(self.before) + len(self.between) + len(self.after)

    def fill(self, first: Ids, second: Ids) -> dict[str, Ids]:
        """Put two texts in."""
        columns = {"input_ids": np.concatenate([self.before, first, self.between, second, self.after])}
        if self.types is not None:
            before, between, after = ([1] * len(part) for part in (self.before, self.between, self.after))
            counts = [*before, len(first), *between, len(second), *after]
            columns["token_type_ids"] = np.repeat(self.types, counts)
        return columns


class PairReader:
    """Tokenises each text of the pairs once, and puts the pairs together from what it kept.

    Args:
        tokenizer: A fast one.
        template: Its own.
        limit: Tokens after which a pair is cut; ``None`` for never.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", template: Template, *, limit: int | None
    ) -> None:
        self._template = template
        self._limit = limit
        self._cache = TokenCache(partial(plain_tokens, tokenizer, limit=limit))

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase") -> Self | None:
        """Return a reader, or ``None`` where it would not read every pair as the tokenizer itself does."""
        template = Template.of(tokenizer) if tokenizer.is_fast else None
        if template is None:
            return None
        limit = tokenizer.model_max_length
        if not _agrees(tokenizer, cls(tokenizer, template, limit=min(limit, COMPARED_LIMIT))):
            return None
        return cls(tokenizer, template, limit=int(limit) if limit < NO_LIMIT else None)

    def read(self, pairs: Sequence[tuple[str, str]]) -> list[Pair]:
        """Tokenise pairs, cut like ``truncation="longest_first"`` where the model's length ends."""
        known = self._cache.get(text for pair in pairs for text in pair)
        return [self._pair(known[first], known[second]) for first, second in pairs]

    def _pair(self, first: Tokens, second: Tokens) -> Pair:
        counts = first.length, second.length
        if self._limit is not None:
            counts = longest_first(*counts, self._limit - self._template.special)
        columns = self._template.fill(first.ids[: counts[0]], second.ids[: counts[1]])
        return Pair(columns, counts != (first.length, second.length))


def plain_tokens(tokenizer: Any, texts: Sequence[str], *, limit: int | None = None) -> list[Tokens]:
    """Tokenise texts without special tokens.

    Args:
        tokenizer: A fast one.
        texts: The texts.
        limit: How many ids of each are kept; ``None`` for all.
    """
    backend = tokenizer.backend_tokenizer
    # Whoever called the tokenizer last has left these as they wanted them.
    backend.no_truncation()
    backend.no_padding()
    encodings = backend.encode_batch_fast(list(texts), add_special_tokens=False)
    return [Tokens(np.array(encoding.ids[:limit], dtype=np.int32), len(encoding)) for encoding in encodings]


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many tokens of two texts are kept in so much room: the longer one is cut first.

    Both are cut to half of it where both are longer than that; the longer one, or the second of two equally
    long ones, keeps the odd token.
    """
    shorter, longer = sorted((first, second))
    if shorter + longer > room:
        longer = room - shorter
        if longer < shorter:
            shorter, longer = room // 2, room - room // 2
    return (longer, shorter) if first > second else (shorter, longer)


def _agrees(tokenizer: Any, reader: PairReader) -> bool:
    """Compare a reader, whose limit is at most `COMPARED_LIMIT`, with the tokenizer itself on what could differ."""
    # Numbers, so that it shows which end is cut.
    short, long, longer = (
        " ".join(map(str, range(count))) for count in (3, COMPARED_LIMIT, COMPARED_LIMIT + 1)
    )
    pairs = [
        *[("a", "b"), ("", ""), ("a", ""), ("", "b"), (" a  b ", "\n"), ("나만의 데이터", "임베딩 모델")],
        *[(short, long), (long, short), (long, longer), (longer, long)],
        *[(token, f"x{token} {token}") for token in tokenizer.all_special_tokens],
    ]
    expected = tokenizer(
        [first for first, _ in pairs],
        [second for _, second in pairs],
        truncation="longest_first",
        max_length=min(tokenizer.model_max_length, COMPARED_LIMIT),
        verbose=False,
    )
    if set(expected) - {"attention_mask"} != set(reader.read(pairs[:1])[0].columns):
        return False
    for place, pair in enumerate(reader.read(pairs)):
        same = all(pair.columns[name].tolist() == expected[name][place] for name in pair.columns)
        if not same or pair.truncated != bool(expected.encodings[place].overflowing):
            return False
    return True

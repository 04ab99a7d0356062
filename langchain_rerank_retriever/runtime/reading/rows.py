"""Texts and pairs to rows, and rows to what a model reads."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from langchain_rerank_retriever.runtime.backend import Row
from langchain_rerank_retriever.runtime.reading.padding import pad
from langchain_rerank_retriever.runtime.reading.pairs import PairReader
from langchain_rerank_retriever.runtime.reading.windows import WindowReader, shared_tokens

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel
    from transformers import PreTrainedTokenizerBase

Features = dict[str, Any]


class Rows(Protocol):
    """One way of reading inputs."""

    @property
    def knows_cut(self) -> bool:
        """Whether ``truncated`` of a row is of meaning."""
        ...

    def tokenise(self, items: Sequence[Any], kind: str) -> list[Row]:
        """Turn texts or (query, passage) pairs into rows."""
        ...

    def collate(self, rows: Sequence[Row]) -> Features:
        """Turn rows of one group into one padded batch of tensors."""
        ...


class TokenRows:
    """Tokenises once and pads by true length; for language models with a plain tokenizer.

    The texts of pairs are kept tokenised for a while, because the same passages come back query after query.

    Args:
        model: Whose tokenizer it is; its ``max_seq_length`` is where inputs are cut.
        prompts: By kind, put before a text or before the query of a pair.
    """

    knows_cut = True

    def __init__(self, model: "BaseModel", prompts: Mapping[str, str]) -> None:
        first: Any = model[0]
        self._tokenizer: PreTrainedTokenizerBase = first.tokenizer
        self._prompts = prompts
        # Only a model whose pooling leaves the prompt out asks for its length.
        self._groups = {kind: (kind, _prompt_length(model, prompt)) for kind, prompt in prompts.items()}

    def tokenise(self, items: Sequence[Any], kind: str) -> list[Row]:
        """Tokenise; one row an input, cut where the model's length ends."""
        inputs = [with_prompt(item, self._prompts.get(kind, "")) for item in items]
        group = self._groups.get(kind, (kind, None))
        if not isinstance(inputs[0], str) and self._pairs is not None:
            return [
                Row(place, max(1, len(pair.columns["input_ids"])), pair.columns, group, pair.truncated)
                for place, pair in enumerate(self._pairs.read(inputs))
            ]
        encoded = call_tokenizer(self._tokenizer, inputs, truncation="longest_first")
        return rows_of(encoded, range(len(items)), self._cut(encoded, inputs), group)

    def collate(self, rows: Sequence[Row]) -> Features:
        """Pad to the longest row."""
        features: Features = {**pad(self._tokenizer, rows), "modality": "text"}
        _, prompt_length = rows[0].group
        if prompt_length is not None:
            features["prompt_length"] = prompt_length
        return features

    @cached_property
    def _pairs(self) -> PairReader | None:
        # Made for the first pair, because a bi-encoder never sees one.
        return PairReader.of(self._tokenizer)

    def _cut(self, encoded: Any, inputs: Sequence[Any]) -> list[bool]:
        if encoded.encodings is not None:
            return [bool(encoding.overflowing) for encoding in encoded.encodings]
        # A tokenizer written in Python does not say what it cut: count again what fills the length.
        limit = self._tokenizer.model_max_length
        full = [place for place, ids in enumerate(encoded["input_ids"]) if len(ids) >= limit]
        cut = [False] * len(inputs)
        if full:
            whole = call_tokenizer(self._tokenizer, [inputs[place] for place in full], truncation=False)
            for place, ids in zip(full, whole["input_ids"], strict=True):
                cut[place] = len(ids) > limit
        return cut


class WindowRows(TokenRows):
    """Reads a long passage in overlapping windows; one row a window, a query beside each.

    A query longer than half of the model's length is cut there, so that a window always has the other half. Passages
    are kept tokenised for a while, as those of `TokenRows` are.
    """

    def tokenise(self, items: Sequence[Any], kind: str) -> list[Row]:
        """Tokenise; one or more rows a pair, ``truncated`` where the query was cut."""
        inputs = [with_prompt(item, self._prompts.get(kind, "")) for item in items]
        shortened = {query: self._shorten(query) for query in dict.fromkeys(query for query, _ in inputs)}
        pairs = [(shortened[query][0], passage) for query, passage in inputs]
        cut = [shortened[query][1] for query, _ in inputs]
        group = self._groups.get(kind, (kind, None))
        read = None if self._windows is None else self._windows.read(pairs)
        if read is None:
            return self._read_by_tokenizer(pairs, cut, group)
        return [
            Row(place, max(1, len(window["input_ids"])), window, group, cut[place])
            for place, windows in enumerate(read)
            for window in windows
        ]

    @cached_property
    def _windows(self) -> WindowReader | None:
        return WindowReader.of(self._tokenizer)

    def _read_by_tokenizer(
        self, pairs: Sequence[tuple[str, str]], cut: Sequence[bool], group: tuple[str, int | None]
    ) -> list[Row]:
        encoded = call_tokenizer(
            self._tokenizer,
            pairs,
            truncation="only_second",
            return_overflowing_tokens=True,
            stride=shared_tokens(self._tokenizer.model_max_length),
        )
        owners = encoded.pop("overflow_to_sample_mapping")
        return rows_of(encoded, owners, [cut[owner] for owner in owners], group)

    def _shorten(self, query: str) -> tuple[str, bool]:
        limit = self._tokenizer.model_max_length // 2
        encoded = self._tokenizer(query, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = encoded["offset_mapping"]
        if len(offsets) <= limit:
            return query, False
        return query[: offsets[limit - 1][1]], True


class PreprocessedRows:
    """Leaves reading to the model's own ``preprocess``, batch by batch; for every other kind of model.

    Lengths are guessed from characters, so batches are packed less well. ``truncated`` is never set.
    """

    knows_cut = False

    def __init__(self, model: "BaseModel", prompts: Mapping[str, str]) -> None:
        self._model = model
        self._prompts = prompts

    def tokenise(self, items: Sequence[Any], kind: str) -> list[Row]:
        """Keep the input as it is; four characters count as a token."""
        return [
            Row(place, 1 + sum(len(part) for part in _parts(item)) // 4, item, (kind, None))
            for place, item in enumerate(items)
        ]

    def collate(self, rows: Sequence[Row]) -> Features:
        """Call the model's own preprocessing."""
        kind, _ = rows[0].group
        inputs = [row.payload for row in rows]
        return self._model.preprocess(inputs, prompt=self._prompts.get(kind) or None, **task_of(rows))


def rows_for(model: "BaseModel", prompts: Mapping[str, str], *, windows: bool = False) -> Rows:
    """Choose how a model's inputs are read.

    Raises:
        ValueError: Windows are asked for and the model has no plain tokenizer that knows offsets.
    """
    if windows:
        first: Any = model[0]
        if not _has_plain_tokenizer(model) or not first.tokenizer.is_fast:
            raise ValueError("windows need a language model with a fast tokenizer")
        return WindowRows(model, prompts)
    return TokenRows(model, prompts) if _has_plain_tokenizer(model) else PreprocessedRows(model, prompts)


def task_of(rows: Sequence[Row]) -> dict[str, str]:
    """Return what sentence-transformers' encode_query and encode_document tell the modules; nothing for pairs."""
    kind, _ = rows[0].group
    return {"task": kind} if kind in ("query", "document") else {}


def with_prompt(item: Any, prompt: str) -> Any:
    """Put a prompt before a text, or before the query of a pair."""
    if not prompt:
        return item
    return prompt + item if isinstance(item, str) else (prompt + item[0], item[1])


def call_tokenizer(tokenizer: "PreTrainedTokenizerBase", inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Tokenise texts or pairs without padding and without warnings about length."""
    if isinstance(inputs[0], str):
        return tokenizer(list(inputs), verbose=False, **kwargs)
    first, second = [pair[0] for pair in inputs], [pair[1] for pair in inputs]
    return tokenizer(first, second, verbose=False, **kwargs)


def rows_of(
    encoded: Any, owners: Sequence[int], cut: Sequence[bool], group: tuple[str, int | None]
) -> list[Row]:
    """Split a tokenizer's answer into rows."""
    # Padding makes the mask: before it, it is all ones.
    names = [name for name in encoded if name != "attention_mask" and len(encoded[name]) == len(owners)]
    rows = []
    for place, owner in enumerate(owners):
        payload = {name: encoded[name][place] for name in names}
        rows.append(Row(owner, max(1, len(payload["input_ids"])), payload, group, cut[place]))
    return rows


def _has_plain_tokenizer(model: "BaseModel") -> bool:
    from sentence_transformers.base.modules import Transformer
    from transformers import PreTrainedTokenizerBase

    first = model[0]
    return (
        isinstance(first, Transformer)
        and isinstance(first.processor, PreTrainedTokenizerBase)
        and first.transformer_task in ("feature-extraction", "sequence-classification")
        and "text" in first.modality_config
        and "message" not in first.modality_config
        and not first.processing_kwargs
        and first.query_expansion is None
        and first.query_length is None
        and first.document_length is None
    )


def _prompt_length(model: "BaseModel", prompt: str) -> int | None:
    if not prompt or all(getattr(module, "include_prompt", True) for module in model.children()):
        return None
    length: Any = model.preprocess(["a"], prompt=prompt).get("prompt_length")
    return None if length is None else int(length)


def _parts(item: Any) -> Sequence[str]:
    return (item,) if isinstance(item, str) else item

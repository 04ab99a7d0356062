"""Pairs from kept tokens, and padding: exactly what the tokenizers of transformers give."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_rerank_retriever.runtime.backend import Row
from langchain_rerank_retriever.runtime.reading.padding import pad
from langchain_rerank_retriever.runtime.reading.pairs import PairReader, longest_first
from langchain_rerank_retriever.runtime.reading.rows import TokenRows, WindowRows
from langchain_rerank_retriever.runtime.reading.token_cache import ENTRY_TOKENS, TokenCache, Tokens

CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "나만의 데이터에 맞는 임베딩 모델을 만들기",
    "numbers 0 1 2 3 4 5 6 7 8 9 and (brackets) [too]; naïve façade",
] * 5

WORDS = st.text(st.sampled_from("ab 0가나é.\n[]<s>"), max_size=30)
LONG = st.builds(
    lambda word, count: f"{word} " * count, st.sampled_from(["fox", "데이터", "7", "zz"]), st.integers(0, 80)
)
SPECIAL = st.sampled_from(["", " ", "[SEP]", "[CLS] a", "</s>", "x <s>y</s>", "[PAD]", "<pad> <mask>[MASK]"])
TEXTS = WORDS | LONG | SPECIAL


def bert(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def roberta(folder: Path) -> Any:
    """Byte-level BPE, `<s> a </s></s> b </s>`, no token types."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=names, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    )


def xlm_roberta(folder: Path) -> Any:
    """Unigram pieces, `<s> a </s></s> b </s>`, types that are all 0."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=names, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def end_only(folder: Path) -> Any:
    """No token before the first text, types 1 and 2, padded on the left."""
    from tokenizers import processors

    tokenizer = xlm_roberta(folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A:1 </s>:0 $B:2 </s>:1", special_tokens=[("</s>", 2)]
    )
    tokenizer.padding_side = "left"
    tokenizer._pad_token_type_id = 3
    return tokenizer


KINDS: dict[str, Callable[[Path], Any]] = {
    "bert": bert,
    "roberta": roberta,
    "xlm_roberta": xlm_roberta,
    "end_only": end_only,
}


class Model:
    """As much of a model as reading needs."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __getitem__(self, place: int) -> "Model":
        return self

    def children(self) -> list[Any]:
        return []


@pytest.fixture(scope="module", params=list(KINDS))
def tokenizer(request: pytest.FixtureRequest, minilm_folder: Path) -> Any:
    return KINDS[request.param](minilm_folder)


def check(tokenizer: Any, pairs: list[tuple[str, str]], prompt: str = "") -> None:
    """Compare rows and their batch with what transformers makes of the same pairs."""
    rows_of_pairs = TokenRows(Model(tokenizer), {"pair": prompt})  # type: ignore[arg-type]
    for _ in range(2):  # The second time from what was kept.
        rows = rows_of_pairs.tokenise(pairs, "pair")
        assert rows_of_pairs._pairs is not None
        expected = tokenizer(
            [prompt + first for first, _ in pairs],
            [second for _, second in pairs],
            truncation="longest_first",
            verbose=False,
        )
        for place, row in enumerate(rows):
            for name in set(expected) - {"attention_mask"}:
                assert list(row.payload[name]) == expected[name][place], name
            assert row.item == place
            assert row.length == max(1, len(expected["input_ids"][place]))
            assert row.truncated == bool(expected.encodings[place].overflowing)
        compare_batch(tokenizer, rows, expected)


def compare_batch(tokenizer: Any, rows: list[Row], expected: Any) -> None:
    padded = tokenizer.pad(dict(expected), padding=True, return_tensors="pt")
    batch = pad(tokenizer, rows)
    assert set(batch) == set(padded)
    for name, values in padded.items():
        assert batch[name].dtype == values.dtype
        np.testing.assert_array_equal(batch[name].numpy(), values.numpy())


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), limit=st.integers(8, 70))
def test_the_same_as_the_tokenizer(tokenizer: Any, pairs: list[tuple[str, str]], limit: int) -> None:
    tokenizer.model_max_length = limit
    check(tokenizer, pairs)


@pytest.mark.parametrize("limit", [10**30, 131_072])
def test_without_a_limit_or_with_a_far_one(tokenizer: Any, limit: int) -> None:
    tokenizer.model_max_length = limit
    start = time.thread_time()
    assert PairReader.of(tokenizer) is not None
    # Nothing of the limit's length is read to find out.
    assert time.thread_time() - start < 0.2
    check(tokenizer, [("fox " * 300, "데이터 " * 700), ("", "")])


def test_a_prompt(tokenizer: Any) -> None:
    tokenizer.model_max_length = 32
    check(tokenizer, [("fox", "dog " * 60), ("fox " * 60, "")], prompt="Judge this: ")


def test_other_calls_between_leave_no_trace(tokenizer: Any) -> None:
    tokenizer.model_max_length = 20
    pairs = [("fox " * 30, "dog " * 30), ("a", "b " * 40)]
    check(tokenizer, pairs)
    tokenizer("fox " * 50, truncation=True, max_length=5, padding="max_length")
    check(tokenizer, [*pairs, ("new " * 9, "text " * 30)])


@given(first=st.integers(0, 40), second=st.integers(0, 40), room=st.integers(0, 50))
def test_longest_first_cuts_tokens_off_the_longer_one(first: int, second: int, room: int) -> None:
    kept = longest_first(first, second, room)
    # As its documentation says: a token at a time off the longer one, the first of two equals.
    left, right = first, second
    while left + right > room:
        left, right = (left, right - 1) if right > left else (left - 1, right)
    assert sum(kept) == min(first + second, room)
    assert abs(kept[0] - left) <= 1
    assert kept[0] <= first
    assert kept[1] <= second


# ---------------------------------------------------------------- where the old way stays


def test_a_tokenizer_of_another_form_is_left_to_itself(minilm_folder: Path) -> None:
    from tokenizers import processors

    cut_left = bert(minilm_folder)
    cut_left.truncation_side = "left"
    turned = bert(minilm_folder)
    turned.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $B [SEP] $A [SEP]",
        special_tokens=[("[CLS]", 101), ("[SEP]", 102)],
    )
    for tokenizer in (cut_left, turned):
        tokenizer.model_max_length = 16
        assert PairReader.of(tokenizer) is None
        rows = TokenRows(Model(tokenizer), {"pair": ""}).tokenise([("a b", "c " * 30)], "pair")  # type: ignore[arg-type]
        expected = tokenizer(["a b"], ["c " * 30], truncation="longest_first")
        assert rows[0].payload["input_ids"] == expected["input_ids"][0]
        compare_batch(tokenizer, rows, expected)


# ---------------------------------------------------------------- windows


def check_windows(tokenizer: Any, pairs: list[tuple[str, str]]) -> list[Row]:
    """Compare rows with the windows that transformers makes of each pair alone."""
    reading = WindowRows(Model(tokenizer), {"pair": ""})  # type: ignore[arg-type]
    limit = tokenizer.model_max_length
    expected = []
    for place, (query, passage) in enumerate(pairs):
        offsets = tokenizer(query, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        cut = len(offsets) > limit // 2
        encoded = tokenizer(
            [query[: offsets[limit // 2 - 1][1]] if cut else query],
            [passage],
            truncation="only_second",
            return_overflowing_tokens=True,
            stride=max(0, min(limit // 8, limit // 2 - 8)),
        )
        del encoded["overflow_to_sample_mapping"], encoded["attention_mask"]
        windows = [dict(zip(encoded, window, strict=True)) for window in zip(*encoded.values(), strict=True)]
        expected += [(place, window, cut) for window in windows]
    for _ in range(2):  # The second time from what was kept.
        rows = reading.tokenise(pairs, "pair")
        assert [
            (row.item, {name: list(ids) for name, ids in row.payload.items()}, row.truncated) for row in rows
        ] == expected
        assert [row.length for row in rows] == [max(1, len(one["input_ids"])) for _, one, _ in expected]
    return rows


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), limit=st.integers(32, 90))
def test_the_same_windows_as_the_tokenizer(tokenizer: Any, pairs: list[tuple[str, str]], limit: int) -> None:
    tokenizer.model_max_length = limit
    check_windows(tokenizer, pairs)


@pytest.mark.parametrize("limit", [10**30, 131_072])
def test_one_window_without_a_limit_or_with_a_far_one(tokenizer: Any, limit: int) -> None:
    tokenizer.model_max_length = limit
    assert len(check_windows(tokenizer, [("fox " * 300, "데이터 " * 700), ("", "")])) == 2


def test_windows_of_a_tokenizer_that_cuts_on_the_left_are_its_own(minilm_folder: Path) -> None:
    tokenizer = bert(minilm_folder)
    tokenizer.truncation_side = "left"
    tokenizer.model_max_length = 16
    rows = check_windows(tokenizer, [("a b", " ".join(map(str, range(30)))), ("a " * 20, "b " * 20)])
    assert tokenizer.decode(rows[0].payload["input_ids"]).endswith("28 29 [SEP]")


def test_a_query_that_leaves_no_room_for_windows_is_an_error_as_before(minilm_folder: Path) -> None:
    tokenizer = bert(minilm_folder)
    tokenizer.model_max_length = 6
    with pytest.raises(Exception, match="Sequence to truncate too short"):
        WindowRows(Model(tokenizer), {}).tokenise([("a b c", "d e")], "pair")  # type: ignore[arg-type]


class Asked:
    """Stands before the tokenizers library's own tokenizer, and notes every text that it is asked for."""

    def __init__(self, tokenizer: Any) -> None:
        self._asked, self.texts = tokenizer, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._asked, name)

    def _noting(self, name: str, inputs: Any, **options: Any) -> Any:
        self.texts += [text for one in inputs for text in ([one] if isinstance(one, str) else one)]
        return getattr(self._asked, name)(inputs, **options)

    def encode_batch(self, inputs: Any, **options: Any) -> Any:
        return self._noting("encode_batch", inputs, **options)

    def encode_batch_fast(self, inputs: Any, **options: Any) -> Any:
        return self._noting("encode_batch_fast", inputs, **options)


def test_windows_of_passages_that_come_back_are_not_tokenised_again(minilm_folder: Path) -> None:
    tokenizer = bert(minilm_folder)
    tokenizer.model_max_length = 16
    reading = WindowRows(Model(tokenizer), {})  # type: ignore[arg-type]
    reading.tokenise([("first", "anything")], "pair")
    tokenizer._tokenizer = asked = Asked(tokenizer._tokenizer)
    passages = [f"fox {number} " * 20 for number in range(10)]
    rows = reading.tokenise([("one query", passage) for passage in passages], "pair")
    assert len(rows) == 10 * 4
    # The query once to see how long it is, and once for its tokens.
    assert sorted(asked.texts) == sorted(["one query"] * 2 + passages)
    asked.texts.clear()
    again = reading.tokenise([("another query", passage) for passage in passages], "pair")
    assert asked.texts == ["another query"] * 2
    assert [row.item for row in again] == [row.item for row in rows]


# ---------------------------------------------------------------- padding of texts


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6))
def test_texts_are_padded_as_the_tokenizer_does(tokenizer: Any, texts: list[str]) -> None:
    tokenizer.model_max_length = 40
    rows = TokenRows(Model(tokenizer), {}).tokenise(texts, "document")  # type: ignore[arg-type]
    compare_batch(tokenizer, rows, tokenizer(texts, truncation=True))


def test_rows_without_tokens(minilm_folder: Path) -> None:
    from tokenizers import processors

    tokenizer = bert(minilm_folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="$A $B", special_tokens=[]
    )
    rows = TokenRows(Model(tokenizer), {}).tokenise(["", ""], "document")  # type: ignore[arg-type]
    batch = pad(tokenizer, rows)
    assert batch["input_ids"].tolist() == [[tokenizer.pad_token_id]] * 2
    assert batch["attention_mask"].tolist() == [[0]] * 2


# ---------------------------------------------------------------- what is kept


class Counting:
    """Reads a text as its characters, and remembers what it read."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, texts: Any) -> list[Tokens]:
        self.seen += texts
        return [Tokens(np.array([ord(one) for one in text], dtype=np.int32), len(text)) for text in texts]


def test_a_text_is_read_once() -> None:
    read = Counting()
    cache = TokenCache(read)
    assert cache.get(["ab", "c", "ab"])["ab"].ids.tolist() == [97, 98]
    assert cache.get(["c", "d", "ab"])["c"].ids.tolist() == [99]
    assert read.seen == ["ab", "c", "d"]


def test_what_was_not_used_for_longest_goes_first() -> None:
    read = Counting()
    cache = TokenCache(read, budget=2 * (ENTRY_TOKENS + 1))
    for text in ("a", "b", "a", "c", "a", "b"):
        assert cache.get([text])[text].ids.tolist() == [ord(text)]
    assert read.seen == ["a", "b", "c", "b"]


@settings(deadline=None)
@given(st.lists(st.lists(st.text("abc", max_size=40), max_size=6), max_size=30), st.integers(0, 500))
def test_never_more_than_the_budget_and_always_right(calls: list[list[str]], budget: int) -> None:
    cache = TokenCache(Counting(), budget=budget)
    for texts in calls:
        found = cache.get(texts)
        assert {text: tokens.ids.tolist() for text, tokens in found.items()} == {
            text: [ord(one) for one in text] for text in texts
        }
        held = sum(len(tokens.ids) + ENTRY_TOKENS for tokens in cache._entries.values())
        assert held == cache._held <= budget

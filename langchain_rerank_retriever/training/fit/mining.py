"""Hard negatives from the recall that serves: what the cross-encoder will have to tell apart."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from langchain_rerank_retriever.protocols import PairScorer
from langchain_rerank_retriever.recall import RecallRequest
from langchain_rerank_retriever.recall.store import StoreRecall
from langchain_rerank_retriever.training.data.reading import TrainingData
from langchain_rerank_retriever.training.fit.cross_encoder import PassageList
from langchain_rerank_retriever.training.fit.queries import AskedStore
from langchain_rerank_retriever.training.fit.recipe import DEFAULT_RECIPE, Recipe
from langchain_rerank_retriever.training.fit.screening import Pool, Screen

#: Recipe found by hand: half of the negatives from the first 30 of the served recall, half at random.
HARD_DEPTH = 30
NEGATIVES = 7
HARD_NEGATIVES = 4

_FILE = "lists.json"

#: Queries asked at once.
QUERIES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Mined:
    """Training lists and how they came about.

    Attributes:
        lists: The lists.
        counts: `queries` that were asked; of the documents `recalled` for them, those dropped as `known_positives`,
            `near_duplicates` or `false_negatives`; the `lists`, and of their negatives the `given`, `hard` and
            `random` ones.
    """

    lists: list[PassageList]
    counts: dict[str, int]

    def save(self, folder: Path) -> None:
        """Write a file into a folder; a text that is in many lists is written once."""
        places: dict[str, int] = {}
        lists = [
            [places.setdefault(text, len(places)) for text in (one.query, *one.passages)]
            for one in self.lists
        ]
        data = {"texts": list(places), "lists": lists, "counts": self.counts}
        (folder / _FILE).write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Mined":
        """Read what `save` wrote."""
        data = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        texts = data["texts"]
        named = ([texts[place] for place in one] for one in data["lists"])
        return cls([PassageList(query, tuple(passages)) for query, *passages in named], data["counts"])


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One list and where its negatives are from."""

    passages: PassageList
    sources: Counter[str]


def mine_lists(
    store: Any,
    data: TrainingData,
    texts: Mapping[str, str],
    *,
    count: int,
    fusion: Mapping[str, float] | None,
    seed: int,
    recipe: Recipe = DEFAULT_RECIPE,
    teacher: PairScorer | None = None,
    seconds: float | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Mined:
    """Draw training lists: one relevant passage, hard negatives, random negatives.

    A query comes again in every round with other negatives. Never a negative is a document that is known to be
    relevant to the query, or to one with the same text but for case and spaces, nor one with nearly the same text.
    Negatives that the data give take the places of recalled ones and are taken as they are.

    Args:
        store: The store that serves.
        data: The training queries.
        texts: Document id to text.
        count: How many lists.
        fusion: Weights of hybrid recall, None for reciprocal rank.
        seed: Of the drawing.
        recipe: Which recalled documents are taken for false negatives.
        teacher: Judges for `false_negatives="cross-encoder"`: it scores each recalled document of each query once.
        seconds: Ask no further queries after so many seconds; lists are then of those that were asked. None: no limit.
        on_progress: Called with the finished share of the recall.

    Returns:
        `count` lists, in random order of queries; fewer only where there is no negative at all.

    Raises:
        InvalidArgumentError: The recipe needs a teacher and there is none.
    """
    started = monotonic()
    rng = np.random.default_rng(seed)
    query_ids = [str(key) for key in rng.permutation(sorted(data.queries))][:count]
    asked = AskedStore(store, [data.queries[key] for key in query_ids])
    source = StoreRecall(asked)  # type: ignore[arg-type]
    counts: Counter[str] = Counter()
    pools: dict[str, Pool] = {}
    with ThreadPoolExecutor(QUERIES_AT_ONCE) as workers:
        screen = Screen(asked, data, texts, query_ids, recipe=recipe, teacher=teacher, pool=workers)

        def pool_of(key: str) -> tuple[int, Pool]:
            request = RecallRequest(data.queries[key], HARD_DEPTH, "hybrid", fusion=fusion)
            recalled = source.recall(request)
            return len(recalled), screen.sort_out(key, recalled)

        for key, (recalled, pool) in zip(query_ids, workers.map(pool_of, query_ids), strict=True):
            pools[key] = pool
            counts += Counter(recalled=recalled) + pool.dropped
            if on_progress is not None:
                on_progress(len(pools) / len(query_ids))
            if seconds is not None and monotonic() - started > seconds:
                break
        workers.shutdown(cancel_futures=True)
    query_ids = query_ids[: len(pools)]
    drawn = _draw(_Lists(data, texts, screen, pools), query_ids, count, rng)
    for one in drawn:
        counts += one.sources
    names = ("recalled", "known_positives", "near_duplicates", "false_negatives", "given", "hard", "random")
    return Mined(
        [one.passages for one in drawn],
        {"queries": len(query_ids), "lists": len(drawn)} | {name: counts[name] for name in names},
    )


@dataclass(frozen=True, slots=True)
class _Lists:
    """What lists are drawn from."""

    data: TrainingData
    texts: Mapping[str, str]
    screen: Screen
    pools: Mapping[str, Pool]

    def round(
        self, query_ids: Sequence[str], every: Sequence[str], rng: np.random.Generator
    ) -> Iterator[_Drawn]:
        """Draw one list for each query, in random order."""
        for key in rng.permutation(query_ids):
            positives = self.data.positives(key)
            # What the user gives as wrong answers comes before what recall finds.
            given = [
                text
                for text in dict.fromkeys(self.data.negatives.get(key, ()))
                if not self.screen.is_right_text(key, text)
            ]
            recalled = [text for text in self._texts(self.pools[key].ids) if text not in given]
            hard = [*_shuffled(given, rng), *_shuffled(recalled, rng)][:HARD_NEGATIVES]
            drawn = [every[place] for place in rng.integers(len(every), size=3 * NEGATIVES)]
            others = self._texts([one for one in drawn if not self.screen.is_right(key, one)])
            easy = [text for text in dict.fromkeys(others) if text not in hard]
            negatives = [*hard, *easy][:NEGATIVES]
            if not negatives:
                continue
            right = self.texts[positives[rng.integers(len(positives))]]
            from_user = sum(text in given for text in hard)
            yield _Drawn(
                PassageList(self.data.queries[key], (right, *negatives)),
                Counter(given=from_user, hard=len(hard) - from_user, random=len(negatives) - len(hard)),
            )

    def _texts(self, ids: Sequence[str]) -> list[str]:
        return [self.texts[one] for one in ids]


def _draw(source: _Lists, query_ids: Sequence[str], count: int, rng: np.random.Generator) -> list[_Drawn]:
    """Draw rounds until there are enough lists."""
    every = sorted(source.texts)
    lists: list[_Drawn] = []
    while query_ids and len(lists) < count:
        drawn = list(source.round(query_ids, every, rng))
        if not drawn:
            break
        lists.extend(drawn)
    return lists[:count]


def _shuffled(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
    return [texts[place] for place in rng.permutation(len(texts))]

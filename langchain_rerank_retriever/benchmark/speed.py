"""How fast one model goes through many inputs, and how much of the machine that uses."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from langchain_rerank_retriever.benchmark.timing import Spread, spread
from langchain_rerank_retriever.benchmark.work import forward_cost, matrix_peak
from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.embeddings import PooledEmbeddings

Model = PooledEmbeddings | CrossEncoderScorer

#: What a processor can do at best, and what it does without trying.
PEAK_PRECISIONS = ("bfloat16", "float32")


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """A model at bulk work.

    Attributes:
        backend: What runs it.
        precision: Number type of its language model.
        device: Where it runs.
        per_second: Inputs a second, over the rounds.
        padded_share: Share of the tokens it went through that are padding, 0 to 1.
        operations: Floating-point operations a second that the inputs need, padding not counted; None where
            the model's are not known.
        peaks: The machine's matrix peaks by number type, in operations a second.
        peak_share: `operations` as a share of these; empty where they are not known.
    """

    backend: str
    precision: str
    device: str
    per_second: Spread
    padded_share: float
    operations: float | None
    peaks: Mapping[str, float]
    peak_share: Mapping[str, float]


def model_speed(model: Model, work: Callable[[], object], count: int, *, rounds: int) -> ModelSpeed:
    """Time a model's bulk work; nothing else may use the model meanwhile.

    The peaks are measured between the rounds and the highest count, so that they are not those of a moment in which
    the machine had other things to do than in the rounds.

    Args:
        model: The model.
        work: Sends `count` inputs through it; called once more than there are rounds, to warm up.
        count: At least 1.
        rounds: At least 1.
    """
    work()
    before, seconds = model.counts, []
    peaks = dict.fromkeys(PEAK_PRECISIONS, 0.0)
    for _ in range(rounds):
        peaks = {name: max(peak, matrix_peak(name, model.device)) for name, peak in peaks.items()}
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    after = model.counts
    tokens = after.tokens - before.tokens
    cost = forward_cost(model.folder)
    needed = None if cost is None else cost.of(after.rows - before.rows, tokens) / sum(seconds)
    return ModelSpeed(
        backend=model.backend,
        precision=model.precision,
        device=model.device,
        per_second=spread([count / taken for taken in seconds]),
        padded_share=1 - tokens / (after.padded_tokens - before.padded_tokens),
        operations=needed,
        peaks=peaks,
        peak_share={} if needed is None else {name: needed / peak for name, peak in peaks.items()},
    )

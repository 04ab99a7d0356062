"""A cross-encoder: one logit for a query and a passage that it reads together.

A bi-encoder sees query and passage apart; a cross-encoder reads them as one text, so that it can tell an answer from
a text on the same topic. That costs a pass of the model for every pair, so it scores the candidates of a query, never
a corpus.

```python
from langchain_rerank_retriever import CrossEncoderScorer

scorer = CrossEncoderScorer("cross-encoder/ms-marco-MiniLM-L6-v2")
scores = scorer.score([("how long does delivery take?", one.page_content) for one in documents])
print(len(scores), isinstance(scores[0], float))  # 3 True
```

`CrossEncoderScorer` is a LangChain `BaseCrossEncoder`. Give it to a `RerankRetriever`, which also tells which pairs
were too long and keeps the time limit, or to a `CrossEncoderReranker` (`langchain_rerank_retriever.reranker`). Scores
are logits: their order counts, they differ in scale from model to model, and only a fitted blend makes probabilities
of them (`langchain_rerank_retriever.blend`).

A passage longer than the model reads is cut, or with `long_documents="max"` read in windows of which the best counts.
How it runs (`backend`, `precision`, `batch_size`, `threads`): `langchain_rerank_retriever.runtime`. `tune` trains one
on your data, out of the bi-encoder if you have none: `langchain_rerank_retriever.training`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from langchain_core.cross_encoders import BaseCrossEncoder

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import PairScores
from langchain_rerank_retriever.runtime.backend import Output
from langchain_rerank_retriever.runtime.choosing.calibration import checked_calibration
from langchain_rerank_retriever.runtime.choosing.select import (
    BackendName,
    Placement,
    Precision,
    check_positive,
)
from langchain_rerank_retriever.runtime.models.loading import resolve_folder
from langchain_rerank_retriever.runtime.models.pair_encoder import default_prompt, load_pair_encoder
from langchain_rerank_retriever.runtime.reading.rows import rows_for
from langchain_rerank_retriever.runtime.reading.texts import check_pairs
from langchain_rerank_retriever.runtime.served import ServedModel
from langchain_rerank_retriever.runtime.serving.answer import Answer

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

__all__ = ["CrossEncoderScorer"]

#: The candidates of one query, however many, go ahead of bulk scoring; of several queries, no more pairs than this do.
URGENT_PAIRS = 128

KIND = "pair"


class CrossEncoderScorer(ServedModel, BaseCrossEncoder):
    """Scores (query, passage) pairs; higher is more relevant.

    Scores are logits, whatever activation the model was saved with: 0 is even odds for a model trained with
    binary cross-entropy, and only their order means anything for other models. The model is loaded at once, so that
    mistakes show here.

    Safe to share between threads and event loops: all calls meet in one worker. There the candidates of one query,
    however many, and up to 128 pairs of several queries go ahead of bulk scoring: of any larger call.

    Args:
        model_name: A local folder or a hub name, of a sequence-classification model or of a cross-encoder
            made of sentence-transformers' modules. Local files are tried before the network.
        max_length: Tokens after which a pair is cut; ``None`` is the model's own. Never beyond its positions.
        device: For instance ``"cpu"`` or ``"cuda:1"``; ``None`` takes a GPU where there is one.
        backend: ``"torch"`` or ``"openvino"`` (an extra, on the CPU); ``"auto"`` takes the one that a short
            measurement shows to be faster here, which is done once for models of this shape.
        precision: Of the language model. ``"auto"``: half on a GPU; bf16 on a CPU where that is measured
            faster. ``"int8"`` quantises for OpenVINO; `quantisation` says how far the scores are from float32.
            ``"auto"`` never takes it, however fast: it changes the order. Of a random head's top ten, 91 % were
            the same; a tuned one's nDCG@10 was .812 instead of .807. `evaluate` tells what it does to yours.
        batch_size: Largest number of pairs in a batch; ``None`` leaves it to the token budget.
        threads: CPU threads, for torch a setting of the whole process; ``None`` leaves it alone.
        long_documents: ``"truncate"`` reads the beginning of a long passage; ``"max"`` reads all of it in
            overlapping windows and keeps the best window's score, at a proportionate cost.
        calibration: For ``precision="int8"``: at least 32 (query, passage) pairs like those it will score;
            ``None`` takes the documentation that comes with Python.

    Raises:
        InvalidArgumentError: A wrong setting.
        ModelLoadError: No model there, none that can be loaded, or one without a trained head.
    """

    def __init__(
        self,
        model_name: str | Path,
        *,
        max_length: int | None = None,
        device: str | None = None,
        backend: BackendName = "auto",
        precision: Precision = "auto",
        batch_size: int | None = None,
        threads: int | None = None,
        long_documents: Literal["truncate", "max"] = "truncate",
        calibration: Sequence[tuple[str, str]] | None = None,
    ) -> None:
        placement = Placement(device, backend, precision, batch_size, threads)
        placement.check()
        check_positive("max_length", max_length)
        if long_documents not in ("truncate", "max"):
            raise InvalidArgumentError(
                f"long_documents: expected 'truncate' or 'max', got {long_documents!r}."
            )
        pairs = checked_calibration(calibration, pairs=True)
        folder = resolve_folder(model_name, organization="cross-encoder")
        self._asked_length = max_length
        self._long_documents = long_documents
        settings = {
            "model_name": str(model_name),
            "max_length": max_length,
            "device": device,
            "backend": backend,
            "precision": precision,
            "batch_size": batch_size,
            "threads": threads,
            "long_documents": long_documents,
            "calibration": pairs,
        }
        super().__init__(settings, folder)
        self._load(placement, windows=long_documents == "max")

    def _load(self, placement: Placement, *, windows: bool) -> None:
        loaded = load_pair_encoder(self._folder, max_length=self._asked_length)
        prompts = {KIND: default_prompt(loaded)}
        self._max_length = loaded.max_seq_length
        try:
            rows = rows_for(loaded, prompts, windows=windows)
        except ValueError as error:
            raise InvalidArgumentError(
                f"long_documents='max' cannot be used with this model: {error}."
            ) from error
        self._knows_cut = rows.knows_cut
        identity = {"prompts": prompts, "max_length": self._max_length, "windows": windows}
        self._serve(loaded, rows, placement, output="scores", kinds=(KIND,), identity=identity)

    @property
    def max_length(self) -> int | None:
        """Tokens after which a pair is cut, ``None`` where it is never cut."""
        return self._max_length

    @property
    def long_documents(self) -> Literal["truncate", "max"]:
        """What happens to a passage that is longer than the model reads."""
        return self._long_documents

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return one logit a (query, passage) pair, in their order; an empty list gives an empty list.

        Raises:
            InvalidArgumentError: Not a list of pairs of valid texts; nothing has run.
            ScoringError: The model gave NaN or infinity.
            ClosedError: After ``close``.
            OverloadedError: Too much waits already; nothing has run.
        """
        scores: list[float] = self.score_pairs(text_pairs).scores.tolist()
        return scores

    async def ascore(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Score without blocking the event loop; cancelling drops what has not run yet. See ``score``."""
        scores: list[float] = (await self.ascore_pairs(text_pairs)).scores.tolist()
        return scores

    def score_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        """Score pairs and tell which were longer than the model reads; see ``score`` for the errors.

        Args:
            text_pairs: (query, passage) pairs. Put those first that matter most if there is a deadline.
            deadline: A time of ``time.monotonic`` at which the call returns with the pairs that are scored by
                then; ``None`` waits for all.

        Returns:
            One logit a pair, NaN where the deadline came first. ``truncated`` says that part of the pair was
            not read; with ``long_documents="max"`` only an overlong query is ever cut. It is None for a model that
            reads in its own way, such as a generating one, of which that is not known.
        """
        answer = self._submit(text_pairs, deadline)
        return self._pair_scores(None if answer is None else answer.wait())

    async def ascore_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        """Score pairs without blocking the event loop. See ``score_pairs``."""
        answer = self._submit(text_pairs, deadline)
        return self._pair_scores(None if answer is None else await answer.wait_async())

    def load_trainable(self) -> "CrossEncoder":
        """Load a fresh float32 cross-encoder of the same length on the CPU, whose ``predict`` gives logits."""
        return load_pair_encoder(self._folder, max_length=self._asked_length)

    def _submit(self, text_pairs: Sequence[tuple[str, str]], deadline: float | None) -> Answer | None:
        pairs = check_pairs(text_pairs)
        if not pairs:
            return None
        query, _ = pairs[0]
        urgent = len(pairs) <= URGENT_PAIRS or all(other == query for other, _ in pairs)
        return self._worker.submit(pairs, KIND, urgent=urgent, deadline=deadline)

    def _pair_scores(self, output: Output | None) -> PairScores:
        if output is None:
            return PairScores(np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.bool_))
        return PairScores(output.values, output.truncated if self._knows_cut else None)

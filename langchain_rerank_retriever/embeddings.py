"""A pooling layer on a language model: a bi-encoder as LangChain embeddings.

A language model gives a vector for each token. A pooling layer makes one vector of them, and so an embedding of the
text; two texts are compared by the cosine of theirs. `PooledEmbeddings` loads a sentence-transformers model as it is,
or puts a pooling layer on any language model:

* `pooling="mean"`, the mean over the tokens, is the usual one and what a plain language model gets;
* `"cls"` takes the first token, as models trained so expect;
* `"max"`, `"mean_sqrt_len_tokens"`, `"weightedmean"`, `"lasttoken"` (for decoders); a tuple concatenates several.

```python
from langchain_rerank_retriever import PooledEmbeddings

embeddings = PooledEmbeddings("klue/roberta-base", pooling=("cls", "mean"))
vectors = embeddings.encode(["a text", "another text"])
print(vectors.shape == (2, embeddings.dimension), vectors.dtype)  # True float32
```

A plain language model with a pooling layer is *not* yet a good embedding: `tune` makes one of it, first on scored
sentence pairs, then on queries (`langchain_rerank_retriever.training`). Some models want a prompt before queries and
another before documents: `query_prompt` and `document_prompt`, or what the model's own files say.

It stands wherever LangChain's embeddings do: `embed_documents`, `embed_query`, and their async twins. `encode` gives
numpy and is faster. A model is one object with one thread that serves all callers: share it, and close it, or use it
in a `with` block. How it runs (`backend`, `precision`, `batch_size`, `threads`):
`langchain_rerank_retriever.runtime`. `PooledEmbeddings.save` writes a folder that
`sentence_transformers.SentenceTransformer` loads, too.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import FloatArray, TextKind
from langchain_rerank_retriever.runtime.choosing.calibration import checked_calibration
from langchain_rerank_retriever.runtime.choosing.select import (
    BackendName,
    Placement,
    Precision,
    check_positive,
)
from langchain_rerank_retriever.runtime.models.bi_encoder import (
    BiEncoderSettings,
    check_pooling,
    load_bi_encoder,
    prompt_of,
)
from langchain_rerank_retriever.runtime.models.loading import resolve_folder
from langchain_rerank_retriever.runtime.reading.rows import rows_for
from langchain_rerank_retriever.runtime.reading.texts import check_text, check_texts
from langchain_rerank_retriever.runtime.served import ServedModel
from langchain_rerank_retriever.runtime.serving.answer import Answer
from langchain_rerank_retriever.runtime.serving.request import Progress

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["PooledEmbeddings"]

#: Up to so many queries at once go ahead of bulk work; more of them are bulk work.
URGENT_QUERIES = 32
#: Fewer texts are done before a progress bar could be read.
TEXTS_WORTH_A_BAR = 64


class PooledEmbeddings(ServedModel, Embeddings):
    """A sentence-transformers model, or any language model with a pooling layer on it.

    Safe to share between threads and event loops: all calls meet in one worker, which packs what arrives at
    the same time into shared batches. The model is loaded at once, so that mistakes show here.

    Args:
        model_name: A local folder or a hub name; also called ``model``. Local files are tried before the
            network.
        model: Another name for ``model_name``.
        pooling: ``"cls"``, ``"max"``, ``"mean"``, ``"mean_sqrt_len_tokens"``, ``"weightedmean"`` or
            ``"lasttoken"``, or a tuple of these (concatenated): put on the language model in place of all
            that follows it. ``None``: the model's own; a plain language model gets ``"mean"``.
        normalize: Whether vectors have length 1.
        query_prompt: Put before queries; ``None`` is the model's own.
        document_prompt: Put before documents; ``None`` is the model's own.
        max_seq_length: Tokens after which a text is cut; ``None`` is the model's own. Never beyond its
            positions.
        truncate_dim: Leading dimensions that are kept.
        device: For instance ``"cpu"`` or ``"cuda:1"``; ``None`` takes a GPU where there is one.
        backend: ``"torch"`` or ``"openvino"`` (an extra, on the CPU); ``"auto"`` takes the one that a short
            measurement shows to be faster here, which is done once for models of this shape.
        precision: Of the language model. ``"auto"``: half on a GPU; bf16 on a CPU where that is measured
            faster. ``"int8"`` quantises for OpenVINO; `quantisation` says how far the vectors are from float32.
            ``"auto"`` never takes it, however fast: it changes the order of what is found. Embed documents and
            queries alike: a store does not notice that the same model runs in another precision.
        batch_size: Largest number of texts in a batch; ``None`` leaves it to the token budget.
        threads: CPU threads, for torch a setting of the whole process; ``None`` leaves it alone.
        show_progress: Whether long calls draw a bar on stderr.
        calibration: For ``precision="int8"``: at least 32 texts like those it will embed; ``None`` takes the
            documentation that comes with Python.

    Raises:
        InvalidArgumentError: A wrong setting.
        ModelLoadError: No model there, or none that can be loaded.
    """

    def __init__(  # noqa: PLR0913 - the settings a caller may need, all but one by keyword
        self,
        model_name: str | Path | None = None,
        *,
        model: str | Path | None = None,
        pooling: str | tuple[str, ...] | None = None,
        normalize: bool = True,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        max_seq_length: int | None = None,
        truncate_dim: int | None = None,
        device: str | None = None,
        backend: BackendName = "auto",
        precision: Precision = "auto",
        batch_size: int | None = None,
        threads: int | None = None,
        show_progress: bool = False,
        calibration: Sequence[str] | None = None,
    ) -> None:
        if (model_name is None) == (model is None):
            raise InvalidArgumentError("Expected model_name (or model, its other name), one of the two.")
        name = model if model_name is None else model_name
        placement = Placement(device, backend, precision, batch_size, threads)
        placement.check()
        check_positive("max_seq_length", max_seq_length)
        check_positive("truncate_dim", truncate_dim)
        for label, prompt in (("query_prompt", query_prompt), ("document_prompt", document_prompt)):
            if prompt is not None:
                check_text(prompt, label)
        modes = check_pooling(pooling)
        texts = checked_calibration(calibration, pairs=False)
        folder = resolve_folder(name, organization="sentence-transformers")
        self._recipe = BiEncoderSettings(
            modes, normalize, query_prompt, document_prompt, max_seq_length, truncate_dim
        )
        self._show_progress = show_progress
        settings = {"model_name": str(name), **asdict(self._recipe), **asdict(placement)}
        super().__init__({**settings, "show_progress": show_progress, "calibration": texts}, folder)
        self._load(placement)

    def _load(self, placement: Placement) -> None:
        loaded = load_bi_encoder(self._folder, self._recipe)
        prompts = {"query": prompt_of(loaded, "query"), "document": prompt_of(loaded, "document")}
        self._dimension = int(loaded.encode(["a"], show_progress_bar=False).shape[1])
        self._max_seq_length = loaded.max_seq_length
        identity = {"prompts": prompts, "max_seq_length": self._max_seq_length, "dimension": self._dimension}
        rows = rows_for(loaded, prompts)
        kinds = ("query", "document")
        self._serve(loaded, rows, placement, output="sentence_embedding", kinds=kinds, identity=identity)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def max_seq_length(self) -> int | None:
        """Tokens after which a text is cut, ``None`` where it is never cut."""
        return self._max_seq_length

    @property
    def normalize(self) -> bool:
        """Whether vectors have length 1."""
        return self._recipe.normalize

    def encode(self, texts: Sequence[str], *, kind: TextKind = "document") -> FloatArray:
        """Embed texts.

        Args:
            texts: May be empty; an empty text is embedded like any other.
            kind: Which prompt is put before them. A few queries go ahead of bulk work that is under way.

        Returns:
            Float32, shape ``(len(texts), dimension)``, in the order of the texts.

        Raises:
            InvalidArgumentError: Not a list of valid texts; nothing has run.
            ScoringError: The model gave NaN or infinity.
            ClosedError: After ``close``.
            OverloadedError: Too much waits already; nothing has run.
        """
        checked = check_texts(texts)
        with self._progress(len(checked)) as progress:
            answer = self._submit(checked, kind, progress)
            return self._empty() if answer is None else answer.wait().values

    async def aencode(self, texts: Sequence[str], *, kind: TextKind = "document") -> FloatArray:
        """Do as ``encode`` without blocking the event loop; cancelling drops what has not run yet."""
        checked = check_texts(texts)
        with self._progress(len(checked)) as progress:
            answer = self._submit(checked, kind, progress)
            return self._empty() if answer is None else (await answer.wait_async()).values

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents; an empty list gives an empty list."""
        vectors: list[list[float]] = self.encode(texts, kind="document").tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Embed one query, ahead of bulk work that is under way."""
        vector: list[float] = self.encode([check_text(text, "text")], kind="query")[0].tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents without blocking the event loop."""
        vectors: list[list[float]] = (await self.aencode(texts, kind="document")).tolist()
        return vectors

    async def aembed_query(self, text: str) -> list[float]:
        """Embed one query without blocking the event loop."""
        vector: list[float] = (await self.aencode([check_text(text, "text")], kind="query"))[0].tolist()
        return vector

    def load_trainable(self) -> "SentenceTransformer":
        """Load a fresh float32 model on the CPU with the same pooling, prompts, length and dimension."""
        return load_bi_encoder(self._folder, self._recipe)

    def _submit(self, texts: list[str], kind: TextKind, progress: Progress | None) -> Answer | None:
        if kind not in ("document", "query"):
            raise InvalidArgumentError(f"kind: expected 'document' or 'query', got {kind!r}.")
        if not texts:
            return None
        urgent = kind == "query" and len(texts) <= URGENT_QUERIES
        return self._worker.submit(texts, kind, urgent=urgent, progress=progress)

    def _empty(self) -> FloatArray:
        return np.zeros((0, self._dimension), dtype=np.float32)

    @contextmanager
    def _progress(self, total: int) -> Iterator[Progress | None]:
        if not self._show_progress or total < TEXTS_WORTH_A_BAR:
            yield None
            return
        from tqdm import tqdm

        with tqdm(total=total, desc="Embedding", unit="text", file=sys.stderr) as bar:
            yield bar.update

"""Models compiled for OpenVINO, made once a machine and kept under their fingerprint."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from langchain_rerank_retriever.errors import InvalidArgumentError, ModelLoadError
from langchain_rerank_retriever.protocols import FloatArray
from langchain_rerank_retriever.runtime.backend import Row
from langchain_rerank_retriever.runtime.backends import openvino_model
from langchain_rerank_retriever.runtime.backends.openvino_backend import OpenVINOBackend, arrays
from langchain_rerank_retriever.runtime.backends.openvino_library import version
from langchain_rerank_retriever.runtime.backends.openvino_model import Arrays, Compilation, Example
from langchain_rerank_retriever.runtime.choosing import derived
from langchain_rerank_retriever.runtime.choosing.calibration import default_calibration
from langchain_rerank_retriever.runtime.choosing.machine import int8_saturates, processor
from langchain_rerank_retriever.runtime.reading.rows import PreprocessedRows, Rows, task_of
from langchain_rerank_retriever.runtime.serving.batching import pack

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

logger = logging.getLogger(__name__)

#: Below this correlation with float32, int8 is refused. MiniLM's is 0.998, with which a tuned bundle's nDCG@10 changed
#: by 0.005; a model that falls below 0.99 has layers whose range the calibration texts did not show.
CORRELATION_FLOOR = 0.99

#: Texts of so many tokens are converted with and compared on; models are cut where they end.
_COMPARED_TOKENS = (4, 40, 200)


@dataclass(frozen=True, slots=True)
class Quantisation:
    """What int8 costs.

    Attributes:
        correlation: Pearson's, between float32 and int8, on the calibration texts: of the scores of a cross-encoder,
            of the cosines between all pairs of texts for a bi-encoder.
        texts: How many there were.
    """

    correlation: float
    texts: int


@dataclass(frozen=True, slots=True)
class Source:
    """A loaded model with what is needed to compile it.

    Attributes:
        model: In float32 on the CPU, not yet cast.
        rows: How its inputs are read.
        output: ``"sentence_embedding"`` or ``"scores"``.
        kinds: Of inputs, as `rows` names them; what is sampled and calibrated with is of the last.
        fingerprint: Of the model.
        calibration: Texts or pairs for int8; None takes those that come with Python.
    """

    model: "BaseModel"
    rows: Rows
    output: str
    kinds: tuple[str, ...]
    fingerprint: str
    calibration: Sequence[Any] | None = None

    @property
    def pairs(self) -> bool:
        """Whether inputs are pairs."""
        return self.output == "scores"

    def sample(self, words: int, count: int = 1, *, kind: str | None = None) -> list[Row]:
        """Return rows of about so many tokens, for timing and comparing; never more than the model reads."""
        text = " ".join(_WORDS[place % len(_WORDS)] for place in range(words))
        item: Any = (_WORDS[0], text) if self.pairs else text
        return self.rows.tokenise([item] * count, kind or self.kinds[-1])


@dataclass(frozen=True, slots=True)
class Built:
    """A backend around a compiled model, and what int8 cost it where it is quantised."""

    backend: OpenVINOBackend
    quantisation: Quantisation | None


_WORDS = ("water", "house", "number", "paper", "morning", "people", "garden", "music", "river", "stone")


class Compiler:
    """Compiles one model in as many ways as are asked for; converts it once, and only where nothing is cached."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def backend(self, compilation: Compilation) -> Built:
        """Return a backend, from the cache where it can be, and keep it there.

        Raises:
            MissingExtraError: OpenVINO is not installed.
            ModelLoadError: The model cannot be converted.
            InvalidArgumentError: int8 changes its scores too much, or there is nothing to calibrate with.
        """
        kept = _kept(self._key(compilation), compilation)
        if kept is None:
            made = self.candidate(compilation)
            self.keep(made, compilation)
            return made
        compiled, quantisation = kept
        return Built(self._around(compiled, compilation), quantisation)

    def candidate(self, compilation: Compilation) -> Built:
        """Return a backend to be compared with others; nothing is kept. Raises as `backend` does."""
        if compilation.int8:
            model, quantisation = self._quantised
        else:
            model, quantisation = self._converted, None
        compiled = openvino_model.compile_model(model, compilation)
        return Built(self._around(compiled, compilation), quantisation)

    def keep(self, built: Built, compilation: Compilation) -> None:
        """Put what `candidate` returned into the cache."""
        facts = {} if built.quantisation is None else {"quantisation": asdict(built.quantisation)}
        derived.write(self._key(compilation), facts, openvino_model.export(built.backend.compiled))

    def _around(self, compiled: Any, compilation: Compilation) -> OpenVINOBackend:
        source = self._source
        # Knows where the compiled model lies and not this object, which holds torch's.
        load_again = partial(_load_again, self._key(compilation), compilation)
        return OpenVINOBackend(
            compiled, load_again, rows=source.rows, output=source.output, streams=compilation.streams
        )

    def _key(self, compilation: Compilation) -> str:
        items = self._source.calibration or ()
        return derived.key_of(
            {
                "compiled": self._source.fingerprint,
                "how": asdict(compilation),
                "openvino": version(),
                "processor": processor(),
                "calibration": [list(item) if self._source.pairs else item for item in items],
            }
        )

    @cached_property
    def _converted(self) -> Any:
        source = self._source
        prompt_lengths = [source.sample(1, kind=kind)[0].group[1] for kind in source.kinds]
        if isinstance(source.rows, PreprocessedRows) or prompt_lengths != [None] * len(source.kinds):
            raise ModelLoadError(
                "OpenVINO runs language models with a plain tokenizer, and pooling over all of a text; this model "
                f"reads its inputs in a way of its own. {openvino_model.FIX}"
            )
        examples = [
            Example(arrays(source.rows, batch), self._by_torch(batch))
            for kind in source.kinds
            for batch in self._compared(kind)
        ]
        return openvino_model.convert(source.model, source.output, examples)

    def _compared(self, kind: str) -> list[list[Row]]:
        short, middle, long = (self._source.sample(words, kind=kind) for words in _COMPARED_TOKENS)
        # Two of different length, so that padding is compared as well; and what is not traced.
        return [short + middle, short, middle * 3, long]

    def _by_torch(self, batch: Sequence[Row]) -> FloatArray:
        """Return what the model gives as it is, with all that its modules are told about a batch."""
        import torch

        source = self._source
        with torch.no_grad():
            result = source.model(source.rows.collate(batch), **task_of(batch))[source.output]
        values: FloatArray = result.float().numpy()
        return values

    @cached_property
    def _quantised(self) -> tuple[Any, Quantisation]:
        source = self._source
        items = source.calibration or default_calibration(pairs=source.pairs)
        rows = source.rows.tokenise(items, source.kinds[-1])
        batches = [
            [rows[place] for place in batch] for batch in pack([row.length for row in rows], budget=1024)
        ]
        inputs = [arrays(source.rows, batch) for batch in batches]
        model = openvino_model.quantise(self._converted, inputs, saturates=int8_saturates())
        exact, coarse = (self._values(one, inputs) for one in (self._converted, model))
        # NaN for a model that gives the same for all texts, which is refused with the others.
        with np.errstate(invalid="ignore"):
            correlation = float(np.corrcoef(exact, coarse)[0, 1])
        if not correlation >= CORRELATION_FLOOR:
            raise InvalidArgumentError(
                f"precision='int8' changes what this model computes: correlation {correlation:.4f} with float32 on "
                f"{len(items)} calibration texts, expected at least {CORRELATION_FLOOR}. Use precision='auto', or "
                "give texts like those it will read as calibration=[...]."
            )
        logger.info("int8: correlation %.4f with float32 on %d texts.", correlation, len(items))
        return model, Quantisation(correlation, len(items))

    def _values(self, model: Any, inputs: Sequence[Arrays]) -> FloatArray:
        """Return a model's scores, or the cosines between its vectors, in float32 as one row of numbers."""
        compiled = openvino_model.compile_model(model, Compilation("float32"))
        values: FloatArray = np.concatenate(
            [np.array(compiled(openvino_model.read_by(compiled, batch))[0]) for batch in inputs]
        )
        if self._source.pairs:
            return values[:, -1] - (values[:, 0] if values.shape[1] == 2 else 0)
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        cosines: FloatArray = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
        return cosines


def _kept(key: str, compilation: Compilation) -> tuple[Any, Quantisation | None] | None:
    """Return a compiled model from the cache, None where there is none that can be used."""
    entry = derived.read(key)
    if entry is None:
        return None
    facts, content = entry
    try:
        compiled = openvino_model.load_compiled(content, compilation)
    except RuntimeError as error:
        logger.warning("A cached model cannot be loaded (%s); it is compiled again.", error)
        return None
    quantisation = facts.get("quantisation")
    return compiled, None if quantisation is None else Quantisation(**quantisation)


def _load_again(key: str, compilation: Compilation) -> Any:
    kept = _kept(key, compilation)
    if kept is None:
        raise ModelLoadError(
            "The compiled model is not in the cache, so a forked process cannot load it. Load the model in "
            "that process, or make the cache folder writable."
        )
    return kept[0]

"""From a sentence-transformers model to OpenVINO's: converted, checked against torch, compiled.

The package `openvino` is used directly.
"""

import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from langchain_rerank_retriever.errors import ModelLoadError
from langchain_rerank_retriever.protocols import FloatArray
from langchain_rerank_retriever.runtime.backends.openvino_library import nncf, no_bars, no_reports, openvino
from langchain_rerank_retriever.runtime.backends.signal_stack import same_signal_stack
from langchain_rerank_retriever.runtime.models.quiet import quiet

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

logger = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[np.int64]]

#: What the language models' forward passes are given; anything else has no place in the converted model.
INPUTS = ("input_ids", "attention_mask", "token_type_ids")

#: Largest difference between a converted model and torch in float32, as a share of the largest value. Both add up the
#: same products in another order, which for models of this kind stays below 1e-4; a graph that was traced wrongly, for
#: instance with the length of its example in it, is off by tenths.
TOLERANCE = 1e-3

FIX = "Use backend='torch', or 'auto', which takes it where OpenVINO cannot be used."

_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


@dataclass(frozen=True, slots=True)
class Compilation:
    """One way of compiling.

    Attributes:
        precision: Number type of what is not quantised.
        int8: Whether weights and activations are quantised.
        streams: Batches that run side by side; the threads are divided among them.
        threads: In all; None is one a core.
    """

    precision: str
    int8: bool = False
    streams: int = 1
    threads: int | None = None

    def properties(self) -> dict[str, Any]:
        """Return the same in OpenVINO's words."""
        given: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "NUM_STREAMS": self.streams,
        }
        if self.threads is not None:
            given["INFERENCE_NUM_THREADS"] = self.threads
        return given


@dataclass(frozen=True, slots=True)
class Example:
    """A batch, and what torch makes of it in float32: shape (batch, dimension) or (batch, labels)."""

    inputs: Arrays
    expected: FloatArray


def convert(model: "BaseModel", output: str, examples: Sequence[Example]) -> Any:
    """Convert a float32 model that is loaded on the CPU, and check that it computes the same.

    Args:
        model: In evaluation mode.
        output: The feature to return, ``"sentence_embedding"`` or ``"scores"``.
        examples: Batches of different lengths and sizes; the first is traced, all are compared.

    Returns:
        An OpenVINO model with dynamic batch and length, output shape (batch, dimension) or (batch, labels).

    Raises:
        MissingExtraError: OpenVINO is not installed.
        ModelLoadError: It cannot be converted, or computes something else.
    """
    unknown = sorted(set(examples[0].inputs) - set(INPUTS))
    if unknown:
        raise ModelLoadError(
            f"OpenVINO: the model reads {unknown[0]!r}, expected no more than {INPUTS}. {FIX}"
        )
    try:
        return _converted(model, output, examples)
    except ModelLoadError as error:
        with _plain_attention(model) as replaced:
            if not replaced:
                raise
            # OpenVINO's fused attention gives NaN where a whole row is masked, as in ModernBERT's padding.
            logger.debug("Converted once more with attention that is written out: %s", error)
            return _converted(model, output, examples)


def _converted(model: "BaseModel", output: str, examples: Sequence[Example]) -> Any:
    import torch

    library = openvino()
    wrapped = _wrap(model, output)
    traced = {name: torch.as_tensor(values) for name, values in examples[0].inputs.items()}
    try:
        # Tracing warns of every condition in the libraries' code; the comparison below is what tells.
        with no_reports(), quiet(), _unlogged(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            converted = library.convert_model(wrapped, example_input=traced)
    # Whatever a tracer stumbles over in someone's model.
    except Exception as error:
        reason = str(error).strip().splitlines() or [""]
        raise ModelLoadError(
            f"OpenVINO cannot convert this model ({type(error).__name__}: {reason[0]}). {FIX}"
        ) from error
    compiled = compile_model(converted, Compilation("float32"))
    largest = max(float(np.abs(np.nan_to_num(example.expected)).max()) for example in examples)
    for example in examples:
        _compare(compiled, example, TOLERANCE * (largest or 1.0))
    return converted


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep quiet that attributes of a model are deprecated: a tracer looks at every one there is."""
    log = logging.getLogger("sentence_transformers.base.model")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _wrap(model: "BaseModel", output: str) -> Any:
    """Put tensors in, one tensor out, around sentence-transformers' dictionaries: what a tracer can follow."""
    import torch

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> torch.Tensor:
            features = {"input_ids": input_ids, "attention_mask": attention_mask}
            if token_type_ids is not None:
                features["token_type_ids"] = token_type_ids
            result: torch.Tensor = self.model(features)[output]
            return result

    return Wrapped().eval()


@contextmanager
def _plain_attention(model: "BaseModel") -> Iterator[bool]:
    """Let a language model compute attention step by step; whether that is another way than before."""
    language_model = model.transformers_model
    before = getattr(getattr(language_model, "config", None), "_attn_implementation", None)
    if language_model is None or before in (None, "eager"):
        yield False
        return
    try:
        language_model.set_attn_implementation("eager")
    except (ValueError, AttributeError):
        yield False
        return
    try:
        yield True
    finally:
        language_model.set_attn_implementation(before)


def _compare(compiled: Any, example: Example, tolerance: float) -> None:
    """Refuse a compiled model that differs from torch; what is NaN in torch has to be NaN here."""
    expected, shape = example.expected, example.inputs["input_ids"].shape
    try:
        got = np.asarray(compiled(read_by(compiled, example.inputs))[0])
    except RuntimeError as error:
        raise ModelLoadError(
            f"OpenVINO converts this model to one that cannot read {shape} tokens "
            f"({str(error).strip().splitlines()[-1]}). {FIX}"
        ) from error
    if got.shape != expected.shape:
        raise ModelLoadError(
            f"OpenVINO converts this model to one that gives {got.shape} for {shape} tokens, expected "
            f"{expected.shape}. {FIX}"
        )
    if not np.allclose(got, expected, rtol=0, atol=tolerance, equal_nan=True):
        off = float(np.abs(got - expected).max())
        raise ModelLoadError(
            f"OpenVINO converts this model to one that computes something else: off by {off:.2g} for {shape} "
            f"tokens, expected at most {tolerance:.2g}. {FIX}"
        )


def read_by(model: Any, batch: Arrays) -> dict[str, NDArray[np.int64]]:
    """Return the part of a batch that a converted or compiled model reads.

    A tokenizer may give token types that the language model has no use for.
    """
    names = set().union(*(port.get_names() for port in model.inputs))
    return {name: values for name, values in batch.items() if name in names}


def compile_model(model: Any, compilation: Compilation) -> Any:
    """Compile a converted model for this CPU."""
    with same_signal_stack():
        return _core().compile_model(model, "CPU", compilation.properties())


def export(compiled: Any) -> bytes:
    """Return a compiled model as bytes, for `load_compiled` of the same library on the same kind of processor."""
    stream: io.BytesIO = compiled.export_model()
    return stream.getvalue()


def load_compiled(content: bytes, compilation: Compilation) -> Any:
    """Load what `export` wrote, which takes a tenth of the time of converting and compiling.

    Raises:
        RuntimeError: OpenVINO's; it is of another version or not what was written.
    """
    with same_signal_stack():
        return _core().import_model(io.BytesIO(content), "CPU", compilation.properties())


def _core() -> Any:
    # A new one each time: threads of one that a process inherited by a fork do not run there.
    return openvino().Core()


def quantise(model: Any, calibration: Sequence[Arrays], *, saturates: bool) -> Any:
    """Quantise weights and activations to int8 by NNCF, which sees what flows through the model on some texts.

    Args:
        model: A converted model; it is not changed.
        calibration: Batches of real texts.
        saturates: Whether sums of two products of bytes are cut off at 16 bits here; weights then get 7 bits.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    library = nncf()
    with same_signal_stack(), no_reports(), no_bars(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return library.quantize(
            model.clone(),
            library.Dataset([read_by(model, batch) for batch in calibration]),
            model_type=library.ModelType.TRANSFORMER,
            subset_size=len(calibration),
            advanced_parameters=library.AdvancedQuantizationParameters(
                overflow_fix=library.OverflowFix.ENABLE if saturates else library.OverflowFix.DISABLE
            ),
        )


def result_of(request: Any) -> FloatArray:
    """Return what a finished request computed, as a copy that the next one does not overwrite."""
    values: FloatArray = np.array(request.get_output_tensor(0).data, dtype=np.float32)
    return values

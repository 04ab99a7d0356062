"""From a sentence-transformers model to OpenVINO's: converted, checked against torch, compiled.

The package `openvino` is used directly. Its converter reports usage over the network unless told not to; here it
finds no reporter to load.
"""

import io
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from langchain_rerank_retriever.errors import MissingExtraError, ModelLoadError
from langchain_rerank_retriever.protocols import FloatArray
from langchain_rerank_retriever.runtime.loading import quiet

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

Arrays = Mapping[str, NDArray[np.int64]]

#: What the language models' forward passes are given; anything else has no place in the converted model.
INPUTS = ("input_ids", "attention_mask", "token_type_ids")

#: Largest difference between a converted model and torch in float32, for outputs of about 1. Both add up the same
#: products in another order, which for models of this kind stays below 1e-4; a graph that was traced wrongly, for
#: instance with the length of its example in it, is off by tenths.
TOLERANCE = 1e-3

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


def is_installed() -> bool:
    """Whether the extra is there."""
    return find_spec("openvino") is not None


def openvino() -> Any:
    """Import OpenVINO without its usage reports.

    Raises:
        MissingExtraError: It is not installed.
    """
    if not is_installed():
        raise MissingExtraError("openvino", "openvino")
    with _no_reports():
        return import_module("openvino")


def nncf() -> Any:
    """Import NNCF, which quantises, without its usage reports.

    Raises:
        MissingExtraError: It is not installed.
    """
    if find_spec("nncf") is None:
        raise MissingExtraError("nncf", "openvino")
    with _no_reports(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module("nncf")


@contextmanager
def _no_reports() -> Iterator[None]:
    """Keep usage from being reported: by what is imported inside, and by what was imported before.

    Importing OpenVINO sends an event already, unless the user has refused in a file in the home folder. Without the
    package that sends, both libraries fall back to a stand-in of their own that does nothing.
    """
    name = "openvino_telemetry"
    loaded = sys.modules.get(name)
    if loaded is None:
        sys.modules[name] = None  # type: ignore[assignment]  # makes the import fail, as the language defines
        try:
            yield
        finally:
            sys.modules.pop(name, None)
        return
    # Somebody else imported it. What is sent through it from now on goes nowhere.
    import_module(f"{name}.utils.sender").TelemetrySender.send = _send_nothing
    yield


def _send_nothing(*_: Any, **__: Any) -> None:
    return None


def convert(model: "BaseModel", output: str, examples: Sequence[Arrays]) -> Any:
    """Convert a float32 model that is loaded on the CPU, and check that it computes the same.

    Args:
        model: In evaluation mode.
        output: The feature to return, ``"sentence_embedding"`` or ``"scores"``.
        examples: Batches of different lengths and sizes; the first is traced, all are compared.

    Returns:
        An OpenVINO model with dynamic batch and length, output shape (batch, dimension) or (batch, labels).

    Raises:
        ModelLoadError: It cannot be converted, or computes something else.
    """
    import torch

    unknown = sorted(set(examples[0]) - set(INPUTS))
    if unknown:
        raise ModelLoadError(
            f"OpenVINO: the model reads {unknown[0]!r}, expected no more than {INPUTS}. {FIX}"
        )
    wrapped = _wrap(model, output)
    traced = {name: torch.as_tensor(values) for name, values in examples[0].items()}
    try:
        # Tracing warns of every condition in the libraries' code; the comparison below is what tells.
        with quiet(), warnings.catch_warnings(), torch.no_grad(), _no_reports():
            warnings.simplefilter("ignore")
            converted = openvino().convert_model(wrapped, example_input=traced)
    # Whatever a tracer stumbles over in someone's model.
    except Exception as error:
        reason = str(error).strip().splitlines() or [""]
        raise ModelLoadError(
            f"OpenVINO cannot convert this model ({type(error).__name__}: {reason[0]}). {FIX}"
        ) from error
    compiled = compile_model(converted, Compilation("float32"))
    for example in examples:
        _compare(wrapped, compiled, example)
    return converted


FIX = "Use backend='torch', or 'auto', which takes it where OpenVINO cannot be used."


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


def _compare(wrapped: Any, compiled: Any, example: Arrays) -> None:
    import torch

    with torch.no_grad():
        tensors = {name: torch.as_tensor(values) for name, values in example.items()}
        expected = wrapped(**tensors).float().numpy()
    try:
        got = np.asarray(compiled(dict(example))[0])
    except RuntimeError as error:
        raise ModelLoadError(
            f"OpenVINO converts this model to one that cannot read {example['input_ids'].shape} tokens "
            f"({str(error).strip().splitlines()[-1]}). {FIX}"
        ) from error
    off = float(np.abs(got - expected).max() / max(1.0, float(np.abs(expected).max())))
    if got.shape != expected.shape or not off <= TOLERANCE:
        raise ModelLoadError(
            f"OpenVINO converts this model to one that computes something else: off by {off:.2g} for "
            f"{example['input_ids'].shape} tokens, expected at most {TOLERANCE:g}. {FIX}"
        )


def compile_model(model: Any, compilation: Compilation) -> Any:
    """Compile a converted model for this CPU."""
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
    return _core().import_model(io.BytesIO(content), "CPU", compilation.properties())


def _core() -> Any:
    # A new one each time: threads of one that a process inherited by a fork do not run there.
    return openvino().Core()


def capabilities() -> frozenset[str]:
    """Return the number types that OpenVINO computes in here; not which of them are fast."""
    listed = set(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    names = {"FP32": "float32", "BF16": "bfloat16", "FP16": "float16", "INT8": "int8"}
    return frozenset(name for key, name in names.items() if key in listed)


def quantise(model: Any, calibration: Sequence[Arrays]) -> Any:
    """Quantise weights and activations to int8 by NNCF, which sees what flows through the model on some texts.

    Args:
        model: A converted model; it is not changed.
        calibration: Batches of real texts.
    """
    library = nncf()
    with _no_bars(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return library.quantize(
            model.clone(),
            library.Dataset([dict(batch) for batch in calibration]),
            model_type=library.ModelType.TRANSFORMER,
            subset_size=len(calibration),
        )


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep NNCF's bars and messages off stdout, which is for data."""
    from rich import get_console

    console, log = get_console(), import_module("nncf.common.logging").nncf_logger
    quiet_before, level = console.quiet, log.level
    console.quiet = True
    log.setLevel("ERROR")
    try:
        yield
    finally:
        console.quiet = quiet_before
        log.setLevel(level)


def version() -> str:
    """Return the version of OpenVINO, which decides whether a compiled model can be read."""
    return str(openvino().get_version())


def result_of(request: Any) -> FloatArray:
    """Return what a finished request computed, as a copy that the next one does not overwrite."""
    values: FloatArray = np.array(request.get_output_tensor(0).data, dtype=np.float32)
    return values

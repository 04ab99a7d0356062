"""Which backend, number type, streams and batch size a model runs with: asked for, or shown by a short measurement.

What is measured depends on the shape of the model and on the machine, not on the weights. So it is measured once and
kept, and the same model trained again is served at once and in the same way.
"""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from langchain_rerank_retriever.errors import InvalidArgumentError, ModelLoadError, ScoringError
from langchain_rerank_retriever.runtime.backend import Backend, Row
from langchain_rerank_retriever.runtime.backends import openvino_library
from langchain_rerank_retriever.runtime.backends.openvino_backend import OpenVINOBackend
from langchain_rerank_retriever.runtime.backends.openvino_model import Compilation
from langchain_rerank_retriever.runtime.choosing import derived
from langchain_rerank_retriever.runtime.choosing.clock import Clock
from langchain_rerank_retriever.runtime.choosing.compiled import Built, Compiler, Quantisation, Source
from langchain_rerank_retriever.runtime.choosing.machine import cores, processor
from langchain_rerank_retriever.runtime.choosing.select import (
    WORTHWHILE,
    Placement,
    choose_device,
    choose_dtype,
)

logger = logging.getLogger(__name__)

#: OpenVINO must need this much less time than torch to be taken without being asked for: less is within what the same
#: measurement gives from one run to the next.
OPENVINO_WORTHWHILE = 1.1
#: Several streams must need this much less time than one, for the same reason.
STREAMS_WORTHWHILE = 1.05
#: With fewer cores a stream is slower at one batch than it gains by running beside others.
CORES_A_STREAM = 4
#: Another batch size must cost this much less a token than `USUAL_ROWS`, again for the same reason.
BUDGET_WORTHWHILE = 1.1

#: A passage as people cut them, and a question.
PASSAGE_WORDS, QUERY_WORDS = 110, 10
#: Rows of the batches that are timed; the usual size is near the best on all processors seen.
BATCH_ROWS, USUAL_ROWS = (4, 8, 16, 32), 16
#: No batch is to take longer, unless the smallest does: for a large model on few cores even four rows keep the
#: processor busy, and a query waits long enough for them.
LONGEST_BATCH = 0.5

#: Seconds. On a machine that is always busy, measuring at every load would cost more than it gains.
DISTURBED_STANDS = 24 * 3600

#: What torch takes on a GPU, where a batch must be large to keep it busy; it is not measured, since the worker makes
#: it smaller where memory ends.
ACCELERATOR_BUDGET = 32768


@dataclass(frozen=True, slots=True)
class Choice:
    """How a model runs on this machine.

    Attributes:
        backend: ``"torch"`` or ``"openvino"``.
        precision: Number type of the language model; of what is not quantised, with int8.
        streams: Batches that OpenVINO runs side by side.
        budget: Largest batch in padded tokens.
        why: What was measured: microseconds a token, by candidate; empty where nothing was.
    """

    backend: str
    precision: str
    streams: int
    budget: int
    why: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Ready:
    """A backend that is ready to run, and how it was chosen."""

    backend: Backend
    choice: Choice
    device: str
    quantisation: Quantisation | None = None


def make_ready(source: Source, placement: Placement) -> Ready:
    """Put a backend around a loaded model: the one that was asked for or the one that is fastest here.

    Args:
        source: The model. Torch's backend takes it over, casts it and moves it.
        placement: What was asked for.

    Raises:
        MissingExtraError: OpenVINO is asked for and not installed.
        ModelLoadError: OpenVINO is asked for and cannot run this model.
        InvalidArgumentError: int8 is asked for and changes its scores too much.
    """
    # Who asks for OpenVINO asks for the CPU, also where there is a GPU.
    device = choose_device(placement.device or ("cpu" if placement.wants_openvino else None))
    if not device.startswith("cpu"):
        precision = str(choose_dtype(placement.precision, device)).removeprefix("torch.")
        choice = Choice("torch", precision, 1, ACCELERATOR_BUDGET, {})
        return Ready(_torch(source, placement, device, precision), choice, device)
    key = derived.key_of(_description(source, placement))
    kept = derived.read(key)
    if kept is not None and _believable(kept[0]):
        return _as_chosen(source, placement, Choice(**kept[0]["choice"]), device)
    clock = Clock()
    ready = _measured(source, placement, device, clock)
    derived.write(key, {"choice": asdict(ready.choice), "steady": clock.steady, "time": time.time()})
    return ready


def _believable(facts: Mapping[str, Any]) -> bool:
    """Whether a measurement still stands. One that other work disturbed does for a day, not for ever."""
    return bool(facts["steady"]) or time.time() - float(facts["time"]) < DISTURBED_STANDS


def _as_chosen(source: Source, placement: Placement, choice: Choice, device: str) -> Ready:
    if choice.backend == "torch":
        return Ready(_torch(source, placement, device, choice.precision), choice, device)
    try:
        built = Compiler(source).backend(_compilation(choice, placement))
    except ModelLoadError as error:
        if placement.wants_openvino:
            raise
        # Chosen for another model of the same shape, which could be converted.
        logger.warning("%s It runs on torch.", error)
        return make_ready(source, placement.on_torch())
    return Ready(built.backend, choice, device, built.quantisation)


def _torch(source: Source, placement: Placement, device: str, precision: str) -> Backend:
    import torch

    from langchain_rerank_retriever.runtime.backends.torch_backend import TorchBackend

    dtype: torch.dtype = getattr(torch, precision)
    return TorchBackend(
        source.model,
        rows=source.rows,
        output=source.output,
        device=device,
        dtype=dtype,
        threads=placement.threads,
    )


def _description(source: Source, placement: Placement) -> dict[str, Any]:
    """Say what the measurement depends on: two models of which this is the same are equally fast."""
    from torch import __version__ as torch_version

    config = getattr(source.model.transformers_model, "config", None)
    installed = openvino_library.is_installed() and placement.backend != "torch"
    return {
        "choice": sorted((name, list(tensor.shape)) for name, tensor in source.model.state_dict().items()),
        "modules": [type(module).__name__ for module in source.model.children()],
        "heads": getattr(config, "num_attention_heads", None),
        "length": source.model.max_seq_length,
        "output": source.output,
        "asked": [placement.backend, placement.precision, placement.threads],
        "processor": processor(),
        "torch": torch_version,
        "openvino": openvino_library.version() if installed else None,
    }


def _measured(source: Source, placement: Placement, device: str, clock: Clock) -> Ready:
    """Build what was asked for in every way that makes sense, time each, and keep the fastest."""
    found: list[Ready] = []
    compiler = Compiler(source)
    # First, because torch's backend casts the model that is to be converted.
    if placement.wants_openvino or may_take_openvino(placement):
        try:
            found.append(_best_of_openvino(source, compiler, placement, clock))
        except ModelLoadError as error:
            if placement.wants_openvino:
                raise
            logger.warning("%s It runs on torch.", error)
    if not placement.wants_openvino:
        precision = str(choose_dtype(placement.precision, device)).removeprefix("torch.")
        backend = _torch(source, placement, device, precision)
        found.append(Ready(backend, Choice("torch", precision, 1, 0, {}), device))
    best = _faster(source, found, clock)
    backend, choice = best.backend, best.choice
    if isinstance(backend, OpenVINOBackend):
        compiler.keep(Built(backend, best.quantisation), _compilation(choice, placement))
    backend.start()
    return replace(best, choice=replace(choice, budget=_budget(source, clock, backend)))


def _compilation(choice: Choice, placement: Placement) -> Compilation:
    return Compilation(choice.precision, placement.precision == "int8", choice.streams, placement.threads)


def may_take_openvino(placement: Placement) -> bool:
    """Whether OpenVINO is to be compared, though nobody asked for it by name."""
    if placement.backend != "auto" or not openvino_library.is_installed():
        return False
    return placement.precision == "auto" or placement.precision in openvino_library.capabilities()


def _best_of_openvino(source: Source, compiler: Compiler, placement: Placement, clock: Clock) -> Ready:
    """Time the number types that this processor has, then one stream against several."""
    plain = Compilation("", placement.precision == "int8", 1, placement.threads)
    types = {name: replace(plain, precision=name) for name in _openvino_precisions(placement)}
    made = {name: compiler.candidate(compilation) for name, compilation in types.items()}
    times = _times(source, clock, {name: built.backend for name, built in made.items()})
    # A number type with fewer digits has to be worth it.
    precision = min(times, key=lambda name: times[name] * (WORTHWHILE if name != "float32" else 1))
    best, streams = made.pop(precision), 1
    # Large models are large; those that were too slow go before more are made.
    made.clear()
    if cores() > 1:
        several = max(2, cores() // CORES_A_STREAM)
        other = compiler.candidate(replace(types[precision], streams=several))
        compared = _times(source, clock, {"1": best.backend, str(several): other.backend})
        times |= {f"{count} streams": cost for count, cost in compared.items()}
        if compared[str(several)] * STREAMS_WORTHWHILE < compared["1"]:
            streams, best = several, other
    why = {f"openvino {name}": cost for name, cost in times.items()}
    return Ready(best.backend, Choice("openvino", precision, streams, 0, why), "cpu", best.quantisation)


def _openvino_precisions(placement: Placement) -> list[str]:
    able = openvino_library.capabilities()
    # "auto" never tries int8, which changes the order of answers: that is for the user to want, and to measure.
    if placement.precision in ("auto", "int8"):
        return [name for name in ("float32", "bfloat16", "float16") if name in able]
    if placement.precision in able:
        return [placement.precision]
    raise InvalidArgumentError(
        f"precision={placement.precision!r}: OpenVINO has {', '.join(sorted(able))} on this processor. "
        "Use one of these, or 'auto'."
    )


def _faster(source: Source, found: Sequence[Ready], clock: Clock) -> Ready:
    if len(found) == 1:
        return found[0]
    openvino, torch = found
    times = _times(source, clock, {"openvino": openvino.backend, "torch": torch.backend})
    best = openvino if times["openvino"] * OPENVINO_WORTHWHILE < times["torch"] else torch
    return replace(best, choice=replace(best.choice, why={**openvino.choice.why, **times}))


def _times(source: Source, clock: Clock, backends: Mapping[str, Backend]) -> dict[str, float]:
    """Time backends in turn.

    Returns:
        Microseconds a token of a batch; for a bi-encoder the geometric mean of that and of one query's, since users
        wait for both.
    """
    batch = source.sample(PASSAGE_WORDS, BATCH_ROWS[1])
    query = source.sample(QUERY_WORDS, kind=source.kinds[0])
    works = [batch] if source.pairs else [batch, query]
    for backend in backends.values():
        backend.start()
    seconds = [
        clock.best({name: partial(_run, one, work) for name, one in backends.items()}) for work in works
    ]
    tokens = [sum(row.length for row in work) for work in works]
    return {
        name: 1e6
        * math.prod(times[name] / count for times, count in zip(seconds, tokens)) ** (1 / len(works))
        for name in backends
    }


def _run(backend: Backend, batch: list[Row]) -> None:
    # Values that are not finite take as long as others. Whoever asks for them is told.
    with suppress(ScoringError):
        backend.run(batch)


def _budget(source: Source, clock: Clock, backend: Backend) -> int:
    """Return the usual batch, or another where that costs clearly less a token."""
    batches = {count: source.sample(PASSAGE_WORDS, count) for count in BATCH_ROWS}
    smallest = clock.best({"smallest": partial(_run, backend, batches[BATCH_ROWS[0]])})["smallest"]
    quick = [count for count in BATCH_ROWS if smallest * count / BATCH_ROWS[0] <= LONGEST_BATCH]
    sizes = quick or [BATCH_ROWS[0]]
    seconds = clock.best({str(count): partial(_run, backend, batches[count]) for count in sizes})
    tokens = {count: sum(row.length for row in batches[count]) for count in sizes}
    costs = {count: seconds[str(count)] / tokens[count] for count in sizes}
    usual = min(USUAL_ROWS, sizes[-1])
    best = min(costs, key=lambda count: costs[count])
    return tokens[best if costs[best] * BUDGET_WORTHWHILE < costs[usual] else usual]

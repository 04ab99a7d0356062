"""How a model runs fast and safely: one thread a model, batches by tokens, the backend that is fastest here.

Nothing here needs to be called: `PooledEmbeddings` and `CrossEncoderScorer` do it, by these of their arguments.

**Backend and precision.** `backend="auto"` takes torch or OpenVINO (extra `openvino`, CPUs only), `precision="auto"`
float32 or bf16 on a CPU and half on a GPU: whichever a short measurement shows to be faster for a model of this shape
on this machine. It is measured once, and kept in the user's cache folder. `precision="int8"` quantises for OpenVINO,
with `calibration` texts like yours if you have some, and is refused where its correlation with float32 is below 0.99.
It changes the order of answers, so `"auto"` never takes it: whether it pays is for `evaluate` to say. A bundle's models
take all this from `RerankRetriever.load_local`, where `precision="int8"` is calibrated on the bundle's own documents.

**Batches.** All callers of a model meet in one worker: what arrives at the same time, from threads, `ainvoke` or
`batch`, is sorted by length and shares batches of so many *tokens*; `batch_size` bounds the number of texts as well.
A query goes ahead of bulk work that is under way. Where memory ends, the batch is made smaller. Where too much waits
already, a call is refused with `OverloadedError`.

**Threads.** `threads` are those of the processor that torch or OpenVINO may take; for torch that is a setting of the
whole process. Models on a CPU survive a fork (CUDA itself does not), and are loaded again where they are unpickled.

```python
from langchain_rerank_retriever import PooledEmbeddings

with PooledEmbeddings("sentence-transformers/all-MiniLM-L6-v2", backend="torch", precision="float32") as model:
    model.encode(["a text", "a much longer text than the first one"])
    print(model.backend, model.precision, model.counts.rows)  # torch float32 2
```

What a model tells of itself:

* `Choice` (its `choice`): backend, precision, streams and batch, and what was measured to choose them;
* `Quantisation` (its `quantisation`): how far int8 is from float32;
* `Counts` (its `counts`): what has run so far, and how much of it was padding.

`langchain_rerank_retriever.benchmark` measures how much of the machine a model uses. The models:
`langchain_rerank_retriever.embeddings`, `langchain_rerank_retriever.cross_encoder`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_rerank_retriever.runtime.choosing.choice import Choice
    from langchain_rerank_retriever.runtime.choosing.compiled import Quantisation
    from langchain_rerank_retriever.runtime.serving.counts import Counts

__all__ = ["Choice", "Counts", "Quantisation"]

_HOME = {"Choice": "choosing.choice", "Counts": "serving.counts", "Quantisation": "choosing.compiled"}


def __getattr__(name: str) -> Any:
    # On first use, since they import torch.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""Children of processes that have used real models and FAISS, each in an interpreter of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .fork_program import ORDERS
from .scale import at_scale

#: Each order of import has a third of the children: by fork, and by forkserver and spawn, which import everything.
FORKS, OTHERS = at_scale(3, 6, 57), at_scale(0, 1, 3)
#: What waits for a child ends it by itself; this is for all of them together.
HANGING = at_scale(900, 900, 3600)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retriever with two real models, small ones, in a folder."""
    import numpy as np

    from langchain_rerank_retriever import CrossEncoderScorer, FaissStore, PooledEmbeddings, RerankRetriever
    from tests.runtime import tiny

    folder = tmp_path_factory.mktemp("bundle")
    language_model = tiny.save_language_model(folder / "bi", "bert")
    classifier = tiny.save_classifier(folder / "cross", "bert")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(tiny.WORDS, size)) for size in rng.integers(5, 60, 40)]
    settings: dict[str, Any] = {"precision": "float32", "backend": "torch"}
    with (
        PooledEmbeddings(language_model, **settings) as model,
        CrossEncoderScorer(classifier, **settings) as scorer,
        FaissStore.from_texts(texts, model, ids=[str(place) for place in range(40)]) as store,
    ):
        RerankRetriever(store, reranker=scorer, fetch_k=20).save_local(folder / "bundle")
    return folder / "bundle"


*FIRST, LAST = ORDERS


@pytest.mark.slow  # an interpreter that imports everything, and each spawned child another
@pytest.mark.timeout(HANGING + 60)
@pytest.mark.parametrize(
    "order", [LAST, *(pytest.param(order, marks=pytest.mark.nightly) for order in FIRST)]
)
def test_children_of_a_process_that_has_used_everything(goal: Any, bundle: Path, order: str) -> None:
    arguments = [order, str(bundle), "--forks", str(FORKS), "--others", str(OTHERS)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    with goal("G11") as count:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.reliability.fork_program", *arguments],
            cwd=Path(__file__).parents[2],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=HANGING,
        )
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout.splitlines()[-1])
        count.done += report["children"]
        count.failures += len(report["problems"])
        count.note = f"{order} first: slowest answer of a child {report['slowest']:.1f} s"
        assert report["problems"] == []

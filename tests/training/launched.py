"""What the processes of a launch run in `test_launch`: one `tune`, or one training that is compared with one process.

python -m torch.distributed.run --nproc_per_node 2 -m tests.training.launched tune '{"output_dir": ...}'
"""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from langchain_rerank_retriever import tune
from langchain_rerank_retriever.errors import RerankError
from langchain_rerank_retriever.runtime.models.loading import load_model
from langchain_rerank_retriever.training import Recipe, encoder_runs
from langchain_rerank_retriever.training.fit import bi_encoder, cross_encoder
from langchain_rerank_retriever.training.fit.checkpoint import Checkpoints
from langchain_rerank_retriever.training.fit.cross_encoder import PassageList, fit_cross_encoder, warm_start
from langchain_rerank_retriever.training.fit.encoders import take_part
from langchain_rerank_retriever.training.fit.schedule import Budget, Schedule
from langchain_rerank_retriever.training.fit.trainer import Fitted, Training
from langchain_rerank_retriever.training.processes import Together, together
from tests.training.conftest import about_animals, animals
from tests.training.fit.conftest import PAIRS
from tests.training.fit.test_sentence_pairs import scored

RANK = int(os.environ.get("RANK", "0"))


class EveryStep(Checkpoints):
    """A checkpoint after each step."""

    def __init__(self, folder: Path, elapsed: Any) -> None:
        super().__init__(folder, elapsed, every=0.0, times_its_cost=0.0)


def run_tune(told: Path, *, end: dict[str, Any] | None = None, pairs: bool = False, **settings: Any) -> None:
    """Tune, and write down what came of it in this process.

    Args:
        told: Folder for what each process has to say.
        end: `rank`, `step` and `how` ("kill", "interrupt", "raise") of a process that does not come through.
        pairs: Tune on scored pairs.
        settings: Of `tune`.
    """
    encoder_runs.Checkpoints = EveryStep  # type: ignore[misc]
    if end is not None and end["rank"] == RANK:
        _end_at(**end)
    first, second, scores = scored(60)
    rows = [
        {"sentence1": one, "sentence2": other, "score": score}
        for one, other, score in zip(first, second, scores, strict=True)
    ]
    try:
        result = tune(
            [] if pairs else animals(),
            rows if pairs else about_animals(),
            score_range=(0, 5) if pairs else None,
            recipe=Recipe(**settings.pop("recipe", {})),
            **settings,
        )
    except (RerankError, OSError, KeyboardInterrupt) as error:
        (told / f"{RANK}.error").write_text(f"{type(error).__name__}: {error}")
        raise
    queries = [row["query"] for row in about_animals()[:10]]
    said = {
        "report": result.report.to_dict(),
        "printed": str(result.report),
        "answers": [[str(one.id) for one in result.retriever.invoke(query, k=10)] for query in queries],
    }
    (told / f"{RANK}.json").write_text(json.dumps(said))
    result.retriever.recall.close()


def _end_at(rank: int, step: int, how: str) -> None:
    begun = Schedule.on_step_end

    def ending(schedule: Schedule, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if state.global_step == step:
            if how == "raise":
                raise OSError(28, f"no space left for process {rank}")
            os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGINT)
            time.sleep(1)
        return begun(schedule, args, state, control, **kwargs)

    Schedule.on_step_end = ending  # type: ignore[method-assign]


def run_fit(start: Path, told: Path, batch: int, lessons: dict[str, dict[str, Any]]) -> None:
    """Train encoders in all processes, by batches of so many rows together; the main one saves them.

    Args:
        start: A bi-encoder.
        told: Folder for models, and for steps and losses.
        batch: Rows, or lists, of all processes together.
        lessons: Name to the recipe, of those whose name begins with "lists" for a cross-encoder.
    """
    processes = together()
    if not processes.main:
        while "train" in (said := processes.same(None)):
            take_part(Path(said["train"]), processes)
        return
    fitted = {}
    for name, recipe in lessons.items():
        training = Training(
            folder=told / name,
            budget=Budget(steps=4),
            seed=3,
            recipe=Recipe(batch_size=batch // processes.size, **_tuples(recipe)),
            bf16=False,
            together=processes,
        )
        training.folder.mkdir(parents=True)
        done = _fit(start, name, batch // processes.size, training)
        fitted[name] = [done.steps, done.loss]
    (told / "fitted.json").write_text(json.dumps(fitted))
    processes.same({})


def _tuples(recipe: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in recipe.items()}


def _fit(start: Path, name: str, batch: int, training: Training) -> Fitted:
    import torch
    from sentence_transformers import SentenceTransformer

    if not name.startswith("lists"):
        bi_encoder.LEARNING_RATE = 1e-2  # so that rounding is not all there is to compare
        model = load_model(SentenceTransformer, start)
        return bi_encoder.fit_bi_encoder(model, PAIRS, training, query_prompt="query: ")
    cross_encoder.LISTS_PER_STEP = batch
    lists = [
        PassageList(query, (passage, *(other for _, other in PAIRS[place + 1 : place + 4])))
        for place, (query, passage) in enumerate(PAIRS[:50])
    ]
    torch.manual_seed(1)
    return fit_cross_encoder(warm_start(start), lists, training, new_head=True)


def say_ranks(told: Path) -> None:
    """Write down what the channel carries."""
    processes: Together = together()
    heard = [processes.same({"rank": RANK, "third": 1 / 3, "text": "한국어"}), processes.mean(float(RANK))]
    (told / f"{RANK}.json").write_text(json.dumps(heard))


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    what, settings = sys.argv[1], json.loads(sys.argv[2])
    paths = {name: Path(settings.pop(name)) for name in ("told", "start") if name in settings}
    {"tune": run_tune, "fit": run_fit, "say": say_ranks}[what](**paths, **settings)


if __name__ == "__main__":
    # A shell that starts the tests in the background has SIGINT ignored, and what they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()

"""One call: tune both encoders on the user's own data, and prove on held-out queries what that brought."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from langchain_core.documents import Document

from langchain_rerank_retriever import __version__, bundle
from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.training.data.corpus import corpus_of
from langchain_rerank_retriever.training.data.pairs import is_scored_pairs, read_scored_pairs, split_pairs
from langchain_rerank_retriever.training.data.reading import read_training_data
from langchain_rerank_retriever.training.data.split import split_by_group
from langchain_rerank_retriever.training.encoder_runs import EncoderRuns
from langchain_rerank_retriever.training.fit.adapters import check_installed
from langchain_rerank_retriever.training.fit.encoders import check_dimensions, check_start, opened_start
from langchain_rerank_retriever.training.fit.recipe import DEFAULT_RECIPE, Recipe
from langchain_rerank_retriever.training.following import follow, leading
from langchain_rerank_retriever.training.identity import identity_of
from langchain_rerank_retriever.training.inputs import Inputs
from langchain_rerank_retriever.training.phases import Tuning, TuningResult
from langchain_rerank_retriever.training.plan import Plan
from langchain_rerank_retriever.training.processes import check_launch, together
from langchain_rerank_retriever.training.progress import Phases, without_library_bars
from langchain_rerank_retriever.training.run_folder import RunFolder, run_folder
from langchain_rerank_retriever.training.scored import PairInputs, PairTuning

DEFAULT_MINUTES = 10.0


def tune(  # noqa: PLR0913 - the settings a caller may need, all but two by keyword
    documents: Iterable[Document],
    training_data: Any,
    *,
    embeddings: Any,
    reranker: Any = "warm",
    output_dir: str | Path,
    minutes: float | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    seed: int = 0,
    resume: bool = False,
    held_out: Any = None,
    unknown_passages: Literal["refuse", "add"] = "refuse",
    score_range: tuple[float, float] | None = None,
    recipe: Recipe = DEFAULT_RECIPE,
    show_progress: bool = False,
) -> TuningResult:
    """Tune a bi-encoder, a cross-encoder and their blend on your own data, and keep what proves to be better.

    **Several GPUs.** One process trains on one GPU, the first that torch sees, however many there are. To train on all
    of them, launch the script that calls `tune` with one process for each GPU (on CPUs, with `torchrun`):

    ```console
    $ accelerate launch --multi_gpu --num_processes 4 script.py
    $ torchrun --nproc_per_node 4 script.py
    ```

    Every process must call `tune`. The main one, of rank 0, reads, indexes, mines, judges and writes the one bundle, by
    the arguments it was given; the others wait, take part where an encoder trains, and get the same report and the
    bundle opened read-only. What comes after `tune` is done by all of them, unless the script asks for the rank.

    Minutes and steps are those of the whole. A step takes a batch *of each process*: four of them train the bi-encoder
    by 4 x 32 queries, each with the passages of all 128 as its negatives, as one would with `Recipe(batch_size=128)`.
    `epochs` count rows, so there are fewer steps of them. The loss of scored pairs compares pairs within each process's
    share. More than one machine needs an `output_dir` that all of them see.

    What ends one process ends all: an error is raised where it comes up and as `LaunchError` in the others, and Ctrl-C
    stops at once. `resume=True` goes on, with as many processes. A launch that splits models over GPUs (FSDP,
    DeepSpeed) is refused.

    Ctrl-C while an encoder trains ends its training: what it has learned is judged and saved like after a full run
    (without a cross-encoder, where that was not begun). Pressed again, or at any other time, it stops at once, and
    `resume=True` goes on from there.

    Args:
        documents: The corpus; each document needs an id. May be empty for scored pairs.
        training_data: Queries with the documents that answer them, see `read_training_data`: a `datasets.Dataset`,
            a list of dicts or of Documents, one or more paths (JSONL, CSV, TSV, Parquet), or a BEIR folder, with the
            columns `query` and `document_id` or `passage`, and optionally `relevance`, `negatives`, `group`. Or scored
            sentence pairs with the columns `sentence1`, `sentence2`, `score`: these train the bi-encoder alone,
            for instance a language model with a pooling layer, and held-out pairs judge it; tune on queries after.
        embeddings: The bi-encoder to start from: a `PooledEmbeddings`, or a model name or folder.
        reranker: `"warm"` trains a cross-encoder from the tuned bi-encoder's language model; the name or folder of
            a cross-encoder (or a `CrossEncoderScorer`) fine-tunes that one; of another model, trains a new head on
            it; None tunes recall only.
        output_dir: The folder of the bundle. An earlier bundle there is replaced only when the new one is complete.
            While the run goes on, its work is kept beside it, in `.<name>.tuning`.
        minutes: Budget of wall time for everything; default 10. Longer only where indexing and judging alone take
            longer.
        steps: Instead of minutes: optimiser steps of each encoder. Equal steps and seed give equal models on a CPU.
        epochs: Instead of minutes: how often each encoder sees its training data.
        seed: Of splitting, drawing and training.
        resume: Go on with a run of the same arguments that was killed, from its newest complete checkpoint; where there
            is none, start. False starts over. Adapters (`lora_rank`) keep no checkpoints: what was complete is an
            encoder then.
        held_out: Data in any of the same forms that only the report's figures come from. None: a fifth of the
            training queries (at most 300, split by `group`) is held out, and whatever is fitted on them is
            cross-fitted.
        unknown_passages: Whether a `passage` that is no document's text is refused or added to the documents.
        score_range: The lowest and highest score of scored pairs, for instance (0, 5); None is (0, 1).
        recipe: Losses, batches, negatives, adapters and distillation, where the defaults will not do.
        show_progress: Show bars on standard error.

    Returns:
        The report, the chosen retriever and the bundle's folder. The untuned systems are always candidates: where
        tuning does not help, the chosen one is untuned and the report says so.

    Raises:
        DataError: If documents or data cannot be used; nothing was written.
        InvalidArgumentError: If an argument is out of range, or the run to resume was another one.
        ModelLoadError: If a model cannot be loaded.
        StorageError: If something cannot be written, or another process is tuning into the same folder.
        LaunchError: In a launch of several processes: if another one failed or is gone.
    """
    check_launch()
    processes = together()
    if not processes.main:
        return follow(processes)
    target = Path(output_dir).resolve()
    with leading(processes, target):
        plan = Plan.of(minutes, steps, epochs, default_minutes=DEFAULT_MINUTES)
        check_start(reranker)
        check_installed(recipe)
        bundle.check_target(target)
        run = _Run(
            target=target,
            plan=plan,
            reranker=reranker,
            recipe=recipe,
            seed=seed,
            resume=resume,
            show_progress=show_progress,
            processes=processes.size,
        )
        if is_scored_pairs(training_data):
            _check_for_pairs(reranker)
            corpus = corpus_of(documents, may_be_empty=True)
            pairs = _pairs(training_data, held_out, score_range, seed)
            return run.on_pairs(PairInputs(corpus, *pairs), embeddings)
        inputs = _inputs(documents, training_data, held_out, unknown_passages, seed, recipe)
        return run.on_queries(inputs, embeddings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What both kinds of run have in common: where to, how long, from what."""

    target: Path
    plan: Plan
    reranker: Any
    recipe: Recipe
    seed: int
    resume: bool
    show_progress: bool
    processes: int

    def on_queries(self, inputs: Inputs, embeddings: Any) -> TuningResult:
        data = {"training data": inputs.train, "dev data": inputs.dev, "held-out data": inputs.test}
        with opened_start(self.reranker) as reranker:
            _check_recipe(self.recipe, reranker)
            with self._opened(embeddings, inputs.corpus, data, reranker) as (
                encoder,
                run,
                plan,
                phases,
                opened,
            ):
                return Tuning(inputs, plan, phases, run, opened).go(encoder, reranker, self.target)

    def on_pairs(self, inputs: PairInputs, embeddings: Any) -> TuningResult:
        data = {"training data": inputs.train, "held-out data": inputs.held_out}
        with self._opened(embeddings, inputs.corpus, data, None) as (encoder, run, plan, phases, opened):
            runs = EncoderRuns(run, plan, phases, self.recipe, self.seed)
            return PairTuning(inputs, plan, phases, run, runs, opened).go(
                encoder, self.target, seed=self.seed
            )

    @contextmanager
    def _opened(
        self, embeddings: Any, corpus: Mapping[str, Document], data: Mapping[str, Any], reranker: Any
    ) -> Iterator[tuple[PooledEmbeddings, RunFolder, Plan, Phases, ExitStack]]:
        """Open what a run needs, and close it however the run ends."""
        with ExitStack() as opened:
            opened.enter_context(without_library_bars())
            encoder = embeddings
            if not isinstance(embeddings, PooledEmbeddings):
                encoder = opened.enter_context(PooledEmbeddings(embeddings))
            settings = {
                "budget": (self.plan.seconds, self.plan.steps, self.plan.epochs),
                "recipe": self.recipe,
                "seed": self.seed,
                "version of the package": __version__,
            }
            if self.processes > 1:
                settings["number of processes"] = self.processes
            check_dimensions(self.recipe, encoder)
            identity = identity_of(corpus.values(), data, encoder, reranker, settings)
            self.target.parent.mkdir(parents=True, exist_ok=True)
            run = opened.enter_context(run_folder(self.target, identity, resume=self.resume))
            phases = opened.enter_context(Phases(show=self.show_progress))
            # Stores and models lie in the run's folder, so they are closed before it is removed.
            inner = opened.enter_context(ExitStack())
            # In an epoch of all processes together each takes its share of the steps.
            epochs = None if self.plan.epochs is None else self.plan.epochs / self.processes
            yield encoder, run, replace(self.plan, epochs=epochs).resumed(run.elapsed), phases, inner


def _inputs(
    documents: Iterable[Document],
    training_data: Any,
    held_out: Any,
    unknown_passages: Literal["refuse", "add"],
    seed: int,
    recipe: Recipe,
) -> Inputs:
    corpus = corpus_of(documents)
    data = read_training_data(training_data, corpus, unknown_passages=unknown_passages)
    corpus |= {str(document.id): document for document in data.added}
    test = None
    if held_out is not None:
        test = read_training_data(held_out, corpus, unknown_passages=unknown_passages, beir_split="test")
        corpus |= {str(document.id): document for document in test.added}
    train, dev = split_by_group(data, seed=seed)
    return Inputs(corpus, train, dev, test, seed, recipe)


def _pairs(data: Any, held_out: Any, score_range: tuple[float, float] | None, seed: int) -> Any:
    pairs = read_scored_pairs(data, score_range=score_range)
    if held_out is None:
        return split_pairs(pairs, seed=seed)
    return pairs, read_scored_pairs(held_out, score_range=score_range)


def _check_recipe(recipe: Recipe, reranker: Any) -> None:
    if recipe.false_negatives == "cross-encoder" and not isinstance(reranker, CrossEncoderScorer):
        raise InvalidArgumentError(
            "Recipe(false_negatives='cross-encoder') needs a trained cross-encoder to ask; expected "
            f"reranker=CrossEncoderScorer(...), got {reranker!r}."
        )
    if recipe.distill is not None and reranker is None:
        raise InvalidArgumentError(
            f"Recipe(distill={recipe.distill!r}) needs a cross-encoder to learn from, got reranker=None."
        )


def _check_for_pairs(reranker: Any) -> None:
    if reranker is not None and reranker != "warm":
        raise InvalidArgumentError(
            f"Scored sentence pairs train the bi-encoder alone; expected reranker=None, got {reranker!r}. Tune on "
            "queries with the tuned bi-encoder to train a cross-encoder."
        )

"""Bundles and the folders of tuning runs to damage, and what they answer."""

import io
import json
import random
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document

from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings, RerankRetriever
from langchain_rerank_retriever.blend import Blend, BlendVariant
from langchain_rerank_retriever.bundled_model import SavedModel
from langchain_rerank_retriever.cli import info, repair, verify
from langchain_rerank_retriever.errors import RerankError
from langchain_rerank_retriever.testing import HashEmbeddings
from langchain_rerank_retriever.training.run_folder import (
    RunFolder,
    facts_of,
    newest_checkpoint,
    run_folder,
    seal,
)
from tests.runtime import tiny

from .damage import Way, laid_out

QUERIES = ("the cat sleeps in the house", "where is the red door")
TEXTS = [
    "the cat sleeps in the garden",
    "a bird sits on the red door",
    "fish jumps in cold water under the sun",
    "the woman plays music in the morning",
]
DOCUMENTS = [
    Document(id=f"d{place}", page_content=text, metadata={"place": place}) for place, text in enumerate(TEXTS)
]
BLEND = Blend((BlendVariant({"rerank": 0.5, "dense": 0.25, "lexical": 0.25}, 1.5, -0.5),), {"dense": 1.0})
#: One of these is in whatever `verify` and `repair` say.
REMEDIES = (
    "repair",
    "restore",
    "anew",
    "open it once without read_only",
    "upgrade",
    "is it still there",
    "makes a new one",
    "put a copy",
)
IDENTITY = {"documents": "0a1b", "plan": "2c3d"}


class Lengths(BaseCrossEncoder):
    """A cross-encoder without a model."""

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:
        return [len(set(query.split()) & set(text.split())) - len(text) / 100 for query, text in text_pairs]


def make_bundle(folder: Path) -> None:
    """A bundle whose models are fakes."""
    made = RerankRetriever.from_documents(
        DOCUMENTS,
        embeddings=HashEmbeddings(),
        reranker=Lengths(),
        k=3,
        fetch_k=4,
        blend=BLEND,
        timeout=30.0,
        recall_mode="hybrid",
    )
    made.with_report({"verdict": "better", "held_out_queries": 12}).save_local(folder)
    made.recall.close()


def bundle_answers(folder: Path) -> dict[str, str]:
    loaded = RerankRetriever.load_local(
        folder, embeddings=HashEmbeddings(), reranker=Lengths(), read_only=True
    )
    with loaded.recall:
        found = {query: repr([(one.id, one.metadata) for one in loaded.invoke(query)]) for query in QUERIES}
        found["filtered"] = repr([one.id for one in loaded.invoke(QUERIES[0], filter={"place": {"$gte": 1}})])
        return {**found, "settings": repr(loaded.model_dump(include={"k", "fetch_k", "timeout"}))}


def command_case(
    files: dict[str, bytes], folder: Path, file: str, way: Way, rng: random.Random
) -> dict[str, Any]:
    """Damage a bundle's store, and see what the commands say and do about it."""
    way(laid_out(files, folder) / file, rng)
    facts: dict[str, Any] = {"said": _said(verify.run, folder, deep=True), "before": _answered(folder)}
    with suppress(RerankError):
        _said(info.run, folder)
    facts["repaired"] = _said(repair.run, folder)
    facts["after"] = _answered(folder)
    facts["said again"] = _said(verify.run, folder, deep=True)
    return facts


def command_fault(facts: dict[str, Any], expected: dict[str, str]) -> str:
    """What the commands got wrong, in words."""
    for said, answered in (("said", "before"), ("repaired", "after"), ("said again", "after")):
        if facts[said]["ok"] and facts[answered] != expected:
            return f"{said}: nothing is wrong, but {answered} it is: {facts}"
        # What `repair` cannot mend it explains once, at the end.
        told = facts[said]["problems"][-1:] if said == "repaired" else facts[said]["problems"]
        if any(not any(word in text.lower() for word in REMEDIES) for text in told):
            return f"{said}: problems without a remedy: {facts[said]}"
    if facts["repaired"]["ok"] and not facts["said again"]["ok"]:
        return f"repaired, but not for verify: {facts}"
    return ""


def _said(command: Callable[..., Any], folder: Path, **options: Any) -> Any:
    """The JSON that a command prints."""
    with redirect_stdout(io.StringIO()) as printed:
        command(folder, as_json=True, **options)
    return json.loads(printed.getvalue())


def _answered(folder: Path) -> dict[str, str] | None:
    try:
        return bundle_answers(folder)
    except RerankError:
        return None


def make_models(folder: Path) -> None:
    """Both models of a bundle, real and small, with what the bundle notes of them."""
    encoder = tiny.save_language_model(folder / "plain", "bert", seed=1)
    scorer = tiny.save_classifier(folder / "scorer", "bert", seed=2)
    with PooledEmbeddings(encoder, pooling="mean", precision="float32") as embeddings:
        embeddings.save(folder / "bi_encoder")
    with CrossEncoderScorer(scorer, precision="float32") as cross_encoder:
        cross_encoder.save(folder / "cross_encoder")


def noted_models(folder: Path) -> tuple[SavedModel, SavedModel]:
    """What a bundle would note of both models."""
    with (
        PooledEmbeddings(folder / "bi_encoder", precision="float32") as embeddings,
        CrossEncoderScorer(folder / "cross_encoder", precision="float32") as scorer,
    ):
        return SavedModel.of(embeddings), SavedModel.of(scorer)


def model_answers(folder: Path, part: str, noted: tuple[SavedModel, SavedModel]) -> dict[str, str]:
    """Load one model as a bundle does, and ask it."""
    if part == "bi_encoder":
        with noted[0].load_embeddings(folder / part) as embeddings:
            return {part: embeddings.encode([*QUERIES, *TEXTS]).tobytes().hex()}
    with noted[1].load_scorer(folder / part) as scorer:
        return {part: repr(scorer.score([(query, text) for query in QUERIES for text in TEXTS]))}


def make_run(target: Path) -> Path:
    """The folder of a tuning run that was killed: a finished part and two checkpoints of another."""

    class KilledError(Exception):
        pass

    try:
        with run_folder(target, IDENTITY, resume=False) as run:
            _fill(run)
            raise KilledError
    except KilledError:
        return target.parent / f".{target.name}.tuning"


def _fill(run: RunFolder) -> None:
    rng = random.Random(5)
    with run.writing("bi_encoder") as part:
        (part.folder / "model.safetensors").write_bytes(rng.randbytes(3000))
        (part.folder / "1_Pooling").mkdir()
        (part.folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
        part.facts.update(elapsed=12.5, steps=40)
    for step in (20, 40):
        written = run.checkpoints("cross_encoder") / f"written-{step}"
        written.mkdir(parents=True)
        for name in ("model.safetensors", "optimizer.pt", "trainer_state.json"):
            (written / name).write_bytes(rng.randbytes(2000))
        seal(written, written.with_name(f"step-{step}"), {"elapsed": float(step)})


def run_case(
    files: dict[str, bytes], target: Path, file: str, way: Way, rng: random.Random
) -> dict[str, Any]:
    """Damage a file of a run's folder and see what counts; what is damaged must not, what is whole must."""
    folder = laid_out(files, target.parent / f".{target.name}.tuning")
    way(folder / file, rng)
    changed = {name for name, content in files.items() if not _is_same(folder / name, content)}
    newest = newest_checkpoint(folder / "cross_encoder.steps")
    facts: dict[str, Any] = {
        "changed": sorted(changed),
        "part": facts_of(folder / "bi_encoder"),
        "newest": None if newest is None else newest.name,
        "elapsed": RunFolder(folder).elapsed,
    }
    with run_folder(target, IDENTITY, resume=True) as run:
        facts["resumed"] = run.facts("bi_encoder")
    return facts


def _is_same(file: Path, content: bytes) -> bool:
    return file.is_file() and not file.is_symlink() and file.read_bytes() == content


def run_fault(facts: dict[str, Any]) -> str:
    """What of a run's folder counts though it is damaged, or does not though it is whole."""
    changed: list[str] = facts["changed"]

    def whole(part: str) -> bool:
        return not any(name.startswith(f"{part}/") for name in changed)

    steps = [step for step in (40, 20) if whole(f"cross_encoder.steps/step-{step}")]
    right = {
        "part": {"elapsed": 12.5, "steps": 40} if whole("bi_encoder") else None,
        "newest": f"step-{steps[0]}" if steps else None,
        "elapsed": max([float(step) for step in steps] + [12.5] * whole("bi_encoder"), default=0.0),
    }
    wrong = {name: facts[name] for name, value in right.items() if facts[name] != value}
    # Where it is no longer known of what the run was, it is started over.
    if facts["resumed"] not in ((right["part"], None) if "run.json" in changed else (right["part"],)):
        wrong["resumed"] = facts["resumed"]
    return f"{wrong}, expected {right}" if wrong else ""

"""Without a network and with an empty cache: a folder works, anything else is one clear error, and soon.

pytest-socket lets no test open a connection; a test that would wait for one fails here within the limit.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from langchain_rerank_retriever import CrossEncoderScorer, FaissStore, PooledEmbeddings, RerankRetriever
from langchain_rerank_retriever.cli import main
from langchain_rerank_retriever.errors import ModelLoadError
from tests.runtime.tiny import save_classifier, save_language_model

from .scale import at_scale

#: Two seconds is what is asked for; machines that run tests may be five times as slow.
LIMIT = 2.0 * 5
BOTH = pytest.mark.parametrize("make", [PooledEmbeddings, CrossEncoderScorer])

pytestmark = pytest.mark.filterwarnings("ignore:A test tried to use socket")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the hub, and nobody to ask."""
    import sentence_transformers  # noqa: F401 - so that no clock below measures its import

    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return cache


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    save_language_model(made / "PooledEmbeddings", "bert", seed=1)
    save_classifier(made / "CrossEncoderScorer", "bert", seed=2)
    return made


@contextmanager
def soon() -> Iterator[None]:
    started = time.perf_counter()
    yield
    assert time.perf_counter() - started < LIMIT


def refused(make: Callable[..., Any], name: Any, match: str) -> None:
    with soon(), pytest.raises(ModelLoadError, match=match) as caught:
        make(name)
    assert "\n\n" not in str(caught.value)


@BOTH
def test_a_local_folder_works(make: Any, folders: Path, goal: Any) -> None:
    with goal("G18") as count, make(folders / make.__name__, backend="torch") as model:
        if make is PooledEmbeddings:
            assert len(model.embed_query("a cat")) == 32
        else:
            assert len(model.score([("a cat", "a dog")])) == 1
        count.done += 1


@BOTH
@pytest.mark.parametrize("name", ["nobody/no-such-model", "no-such-model"])
def test_a_hub_name(make: Any, name: str, goal: Any) -> None:
    with goal("G18") as count:
        refused(
            make,
            name,
            f"There is no folder '{name}', and the local hub cache .* cannot be reached.*local folder",
        )
        count.done += 1


@BOTH
def test_a_hub_that_is_switched_off(make: Any, monkeypatch: pytest.MonkeyPatch, goal: Any) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with goal("G18") as count:
        refused(make, "nobody/no-such-model", r"switched off \(HF_HUB_OFFLINE\)")
        count.done += 1


def _cached(cache: Path, name: str, source: Path) -> Path:
    """A model in the hub's cache, as a download leaves it: files that are links."""
    model = cache / f"models--{name.replace('/', '--')}"
    snapshot = model / "snapshots" / ("a" * 40)
    for file in source.rglob("*"):
        if file.is_file():
            blob = model / "blobs" / f"{file.name}-blob"
            blob.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, blob)
            link = snapshot / file.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("a" * 40)
    return snapshot


@BOTH
def test_a_model_in_the_cache_works(make: Any, folders: Path, offline: Path, goal: Any) -> None:
    with goal("G18") as count:
        _cached(offline, "owner/cached", folders / make.__name__)
        with make("owner/cached", backend="torch") as model:
            assert model.fingerprint
        count.done += 1


@BOTH
@pytest.mark.parametrize(
    "missing", ["model.safetensors", "config.json", "tokenizer.json"][: at_scale(1, 3, 3)]
)
def test_a_model_that_was_half_downloaded(
    make: Any, missing: str, folders: Path, offline: Path, goal: Any
) -> None:
    """The link is there, and what it leads to is not yet; or the file was never asked for."""
    with goal("G18") as count:
        for gone in ("blob", "link"):
            name = f"owner/half-{gone}"
            snapshot = _cached(offline, name, folders / make.__name__)
            target = snapshot / missing
            blob = target.resolve()
            blob.rename(blob.with_suffix(".incomplete"))
            if gone == "link":
                target.unlink()
            refused(make, name, "cannot be loaded|cannot be reached|has no model weights|cannot be read")
            count.done += 1


@BOTH
@pytest.mark.parametrize(
    ("file", "left", "match"),
    [
        ("model.safetensors", 0, "cannot be loaded"),
        ("model.safetensors", 1000, "cannot be loaded"),
        ("config.json", 10, "config.json cannot be read|cannot be loaded"),
        ("config.json", None, "cannot be loaded"),
        ("tokenizer.json", 100, "cannot be loaded"),
        ("model.safetensors", None, "has no model weights: expected model.safetensors"),
    ],
)
def test_a_folder_that_was_half_copied(
    make: Any, file: str, left: int | None, match: str, folders: Path, tmp_path: Path, goal: Any
) -> None:
    with goal("G18") as count:
        shutil.copytree(folders / make.__name__, tmp_path / "model")
        path = tmp_path / "model" / file
        if left is None:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:left])
        refused(make, tmp_path / "model", match)
        count.done += 1


def test_a_bundle_works_and_one_without_its_model_says_so(
    folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    goal: Any,
) -> None:
    with goal("G18") as count:
        with (
            FaissStore.from_texts(
                ["a cat", "a dog"], PooledEmbeddings(folders / "PooledEmbeddings", backend="torch")
            ) as made,
            CrossEncoderScorer(folders / "CrossEncoderScorer", backend="torch") as scorer,
        ):
            RerankRetriever(made, reranker=scorer).save_local(tmp_path / "bundle")
        retriever = RerankRetriever.load_local(tmp_path / "bundle")
        assert len(retriever.invoke("a cat")) == 2
        retriever.recall.close()
        (tmp_path / "bundle" / "bi_encoder" / "model.safetensors").unlink()
        monkeypatch.setattr("sys.argv", ["langchain-rerank", "search", str(tmp_path / "bundle"), "a cat"])
        with soon(), pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "has no model weights: expected model.safetensors" in line
        count.done += 2


def test_an_adapter_without_its_model(folders: Path, tmp_path: Path, goal: Any) -> None:
    """It names a hub's model, which would be asked for."""
    with goal("G18") as count:
        shutil.copytree(folders / "PooledEmbeddings", tmp_path / "model")
        adapter = {"peft_type": "LORA", "base_model_name_or_path": "nobody/base", "r": 1}
        (tmp_path / "model" / "adapter_config.json").write_text(json.dumps(adapter))
        refused(PooledEmbeddings, tmp_path / "model", "holds an adapter .* whose model lies elsewhere")
        count.done += 1

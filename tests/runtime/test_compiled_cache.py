"""Compiled models come from the cache as they went in, and from torch again whatever happens to it."""

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever import PooledEmbeddings
from langchain_rerank_retriever.runtime.backends import openvino_model
from langchain_rerank_retriever.runtime.choosing import compiled, derived
from tests.runtime import tiny
from tests.runtime.damage import cut, flip, garble

pytestmark = pytest.mark.usefixtures("cache", "speeds")

TEXTS = ["the cat sits on the table", "a dog", "", "music " * 50]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_language_model(tmp_path_factory.mktemp("model"), "bert")


@pytest.fixture(scope="module")
def expected(folder: Path) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    vectors = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The output of every model that is converted from now on."""
    seen: list[str] = []
    real = openvino_model.convert

    def convert(model: Any, output: str, examples: Any) -> Any:
        seen.append(output)
        return real(model, output, examples)

    monkeypatch.setattr(openvino_model, "convert", convert)
    return seen


def check(folder: Path, expected: np.ndarray) -> None:
    with PooledEmbeddings(folder, backend="openvino", precision="float32") as model:
        assert model.backend == "openvino"
        np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-5)


def entry_of_the_model(cache: Path) -> Path:
    (found,) = (path.parent for path in cache.glob("*/content.bin") if path.stat().st_size)
    return found


# ---------------------------------------------------------------- models


def test_a_second_load_does_not_convert(
    folder: Path, expected: np.ndarray, cache: Path, conversions: list[str]
) -> None:
    check(folder, expected)
    before = sorted(cache.iterdir())
    check(folder, expected)
    assert conversions == ["sentence_embedding"]
    assert sorted(cache.iterdir()) == before


def test_what_is_loaded_gives_the_same_to_the_bit(folder: Path) -> None:
    vectors = []
    for _ in range(2):
        with PooledEmbeddings(folder, backend="openvino", precision="float32") as model:
            vectors.append(model.encode(TEXTS))
    np.testing.assert_array_equal(*vectors)


@pytest.mark.parametrize(
    ("damage", "name"),
    [(flip, "content.bin"), (cut, "content.bin"), (garble, "entry.json"), (Path.unlink, "content.bin")],
)
def test_a_damaged_model(
    damage: Callable[[Path], None],
    name: str,
    folder: Path,
    expected: np.ndarray,
    cache: Path,
    conversions: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    check(folder, expected)
    damage(entry_of_the_model(cache) / name)
    check(folder, expected)
    assert [one for one in caplog.messages if "is not read" in one and "made again" in one]
    assert len(conversions) == 2
    # And is whole again.
    check(folder, expected)
    assert len(conversions) == 2


def test_an_entry_that_openvino_does_not_read(
    folder: Path, expected: np.ndarray, cache: Path, conversions: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    check(folder, expected)
    key = entry_of_the_model(cache).name
    derived.write(key, {}, b"whole, and not a model")
    check(folder, expected)
    assert "A cached model cannot be loaded" in caplog.text
    assert len(conversions) == 2


@pytest.mark.parametrize(("module", "name"), [(compiled, "version"), (compiled, "processor")])
def test_another_version_or_processor_has_entries_of_its_own(
    module: Any,
    name: str,
    folder: Path,
    expected: np.ndarray,
    conversions: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check(folder, expected)
    monkeypatch.setattr(module, name, lambda: "another")
    check(folder, expected)
    assert len(conversions) == 2


def test_other_weights_have_an_entry_of_their_own(
    folder: Path, expected: np.ndarray, conversions: list[str], tmp_path: Path
) -> None:
    check(folder, expected)
    other = tiny.save_language_model(tmp_path / "other", "bert", seed=8)
    with PooledEmbeddings(other, backend="openvino", precision="float32") as model:
        assert np.abs(model.encode(TEXTS) - expected).max() > 0.1
    assert len(conversions) == 2


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["scratch_folder", "move_into_place"])
def test_a_full_disk(
    place: str,
    folder: Path,
    expected: np.ndarray,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(derived, place, full)
    check(folder, expected)
    assert "Nothing is kept in the cache folder" in caplog.text
    assert "No space left on device" in caplog.text
    assert not cache.exists() or not list(cache.iterdir())


def test_a_cache_folder_that_cannot_be_made(
    folder: Path, expected: np.ndarray, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file is in its place")
    check(folder, expected)
    assert "Nothing is kept in the cache folder" in caplog.text


LOAD = """
import sys, numpy
from langchain_rerank_retriever import PooledEmbeddings
model = PooledEmbeddings(sys.argv[1], backend="openvino", precision="float32")
numpy.save(sys.argv[2], model.encode(["the cat sits on the table", "a dog", "", "music " * 50]))
model.close()
"""


@pytest.mark.slow  # each process imports all of it
def test_two_processes_at_once(
    folder: Path, expected: np.ndarray, tmp_path: Path, conversions: list[str]
) -> None:
    files = [tmp_path / f"{place}.npy" for place in range(2)]
    running = [
        subprocess.Popen([sys.executable, "-c", LOAD, str(folder), str(file)], stderr=subprocess.PIPE)
        for file in files
    ]
    for process, file in zip(running, files, strict=True):
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors.decode()
        np.testing.assert_allclose(np.load(file), expected, atol=1e-5)
    # Whole: what they left serves a third.
    check(folder, expected)
    assert conversions == []

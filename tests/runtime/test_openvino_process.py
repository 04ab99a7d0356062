"""OpenVINO in a process among others: no reports, forks, pickles, threads, an end."""

import gc
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings
from langchain_rerank_retriever.errors import ClosedError, ModelLoadError, ScoringError
from langchain_rerank_retriever.runtime.backends import openvino_library
from tests.runtime import tiny

pytestmark = pytest.mark.usefixtures("cache", "speeds")

TEXTS = [" ".join(tiny.WORDS[place : place + 1 + place % 9]) for place in range(40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_language_model(tmp_path_factory.mktemp("model"), "bert")


def load(folder: Path) -> PooledEmbeddings:
    return PooledEmbeddings(folder, backend="openvino", precision="float32")


# ---------------------------------------------------------------- reports


WATCH = """
import os, socket, sys, threading, time
import urllib3  # makes a socket when it is imported, to ask the kernel for IPv6

class Counted(socket.socket):
    made = 0
    def __init__(self, *args, **kwargs):
        Counted.made += 1
        raise OSError("no network")

socket.socket = Counted
looked_up = []
socket.getaddrinfo = lambda *args, **kwargs: looked_up.append(args) or []
"""

LOAD = """
from langchain_rerank_retriever import PooledEmbeddings
words = "cat dog house tree river stone music paper".split()
texts = [f"{one} on the {other}" for one in words for other in words]
with PooledEmbeddings(sys.argv[1], precision="int8", calibration=texts) as model:
    assert model.encode(texts).shape == (64, 32)
"""

REPORT = """
time.sleep(0.5)
print("sockets", Counted.made, "names", len(looked_up))
others = {one.name for one in threading.enumerate()} - {"MainThread", "tqdm_monitor"}
print("threads", sorted(others))
print("reporter", sys.modules.get("openvino_telemetry"))
"""

LOADED_BEFORE = """
os.environ.pop("CI", None)
import openvino
from openvino_telemetry.utils.sender import TelemetrySender
sent = []
submit = TelemetrySender.send
TelemetrySender.send = lambda self, backend, message: sent.append(message)
"""


def run(code: str, folder: Path, home: Path) -> str:
    """Run in a process whose home is an empty folder, as a user's is who has never been asked."""
    home.mkdir()
    hidden = ("CI", "NNCF_CI", "NNCF_DEV", "XDG_CACHE_HOME", "TF_BUILD", "JENKINS_URL")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env=environment, capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow  # starts processes that import all of it
def test_nothing_is_reported(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    lines = run(WATCH + LOAD + REPORT, folder, home).splitlines()
    assert lines == ["sockets 0 names 0", "threads []", "reporter None"]
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.slow  # each process imports all of it
def test_what_somebody_else_imported_does_not_report_what_is_done_here(folder: Path, tmp_path: Path) -> None:
    out = run(WATCH + LOADED_BEFORE + LOAD + 'print("sent", len(sent))' + REPORT, folder, tmp_path / "home")
    assert "sent 0\n" in out


@pytest.mark.slow
def test_the_watch_sees_a_report(folder: Path, tmp_path: Path) -> None:
    # The same, done by OpenVINO alone: the test above would see it.
    alone = "import torch; openvino.convert_model(torch.nn.Linear(2, 2), example_input=torch.ones(1, 2))\n"
    out = run(WATCH + LOADED_BEFORE + alone + 'print("sent", len(sent))', folder, tmp_path / "home")
    assert int(out.split()[1]) > 0


NAME = "openvino_telemetry"


def test_the_reporter_can_be_imported_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    with openvino_library.no_reports():
        with openvino_library.no_reports():
            assert sys.modules[NAME] is None
        # Still, inside of the first.
        assert sys.modules[NAME] is None
    assert NAME not in sys.modules


def test_somebody_elses_block_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, NAME, None)  # type: ignore[arg-type]
    with openvino_library.no_reports():
        pass
    assert sys.modules[NAME] is None


def test_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    seen: list[object] = []
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with openvino_library.no_reports():
            inside.set()
            leave.wait(5)

    def second() -> None:
        inside.wait(5)
        with openvino_library.no_reports():
            seen.append(sys.modules.get(NAME, "absent"))

    threads = [threading.Thread(target=one) for one in (first, second)]
    for thread in threads:
        thread.start()
    assert inside.wait(5)
    threads[1].join(0.1)
    assert seen == []
    leave.set()
    for thread in threads:
        thread.join()
    # Not left open by the first on its way out.
    assert seen == [None]
    assert NAME not in sys.modules


def test_a_reporter_that_is_there_is_silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    class TelemetrySender:
        def send(self, message: str) -> None:
            sent.append(message)

    package, utils = ModuleType(NAME), ModuleType(f"{NAME}.utils")
    sender: Any = ModuleType(f"{NAME}.utils.sender")
    sender.TelemetrySender = TelemetrySender
    for module in (package, utils, sender):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    with openvino_library.no_reports():
        TelemetrySender().send("inside")
    assert sent == []
    assert sys.modules[NAME] is package


# ---------------------------------------------------------------- forks and pickles


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_child(work: Callable[[], object]) -> int:
    """Do something in a forked process; its exit status, or minus its signal."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=work)
    process.start()
    process.join(60)
    if process.exitcode is None:
        process.kill()
    return process.exitcode if process.exitcode is not None else 1000


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process(folder: Path) -> None:
    model = load(folder)
    expected = model.encode(TEXTS)

    def use() -> None:
        np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-6)

    def drop() -> None:
        nonlocal model
        del model
        gc.collect()

    def use_and_drop() -> None:
        use()
        drop()

    assert [in_child(work) for work in (use, drop, use_and_drop)] == [0, 0, 0]
    # A child of a child, too.
    assert in_child(lambda: sys.exit(in_child(use))) == 0
    use()
    model.close()


EXIT = """
import os, sys
from langchain_rerank_retriever import PooledEmbeddings
model = PooledEmbeddings(sys.argv[1], backend="openvino", precision="float32")
before = model.encode(["a cat"]).tolist()
child = os.fork()
if child == 0:
    assert model.encode(["a cat"]).tolist() == before
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


@pytest.mark.slow  # starts processes that import all of it
@needs_fork
def test_a_forked_process_ends_as_any_other(folder: Path, tmp_path: Path) -> None:
    run(EXIT, folder, tmp_path / "home")


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_without_a_cache_says_what_to_do(folder: Path, cache: Path) -> None:
    with load(folder) as model:
        shutil.rmtree(cache)

        def fail() -> None:
            with pytest.raises(ModelLoadError, match="not in the cache, so a forked process cannot load it"):
                model.encode(TEXTS)

        assert in_child(fail) == 0


def test_a_pickle_loads_it_again(folder: Path) -> None:
    with load(folder) as model, pickle.loads(pickle.dumps(model)) as again:
        assert again.backend == "openvino"
        np.testing.assert_array_equal(again.encode(TEXTS), model.encode(TEXTS))


def encode_elsewhere(model: PooledEmbeddings) -> list[list[float]]:
    return model.encode(["a cat", "the dog"]).tolist()


@pytest.mark.slow
def test_a_spawned_process(folder: Path) -> None:
    with load(folder) as model, multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(encode_elsewhere, (model,)) == encode_elsewhere(model)


# ---------------------------------------------------------------- threads and ends


def test_eight_threads_get_what_one_gets(folder: Path) -> None:
    with load(folder) as model:
        expected = np.concatenate([model.encode([text]) for text in TEXTS])
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda place: model.encode(TEXTS[place : place + 5]), range(35)))
    for place, vectors in enumerate(got):
        np.testing.assert_allclose(vectors, expected[place : place + 5], atol=1e-5)


def test_two_models_loaded_at_once(folder: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folders = [folder, tiny.save_language_model(tmp_path / "other", "roberta", seed=3)]
    with ThreadPoolExecutor(2) as pool:
        models = list(pool.map(load, folders))
    for model, one in zip(models, folders, strict=True):
        vectors = SentenceTransformer(str(one), device="cpu").encode(TEXTS)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(model.encode(TEXTS), unit, atol=1e-5)
        model.close()


def test_closing_lets_go_of_the_model(folder: Path) -> None:
    model = load(folder)
    model.encode(TEXTS)
    backend = model._worker._backend
    requests = weakref.ref(backend), weakref.ref(backend._rows)
    del backend
    model.close()
    gc.collect()
    assert [reference() for reference in requests] == [None, None]
    with pytest.raises(ClosedError):
        model.encode(TEXTS)
    assert model.backend == "openvino"
    assert model.dimension == 32


@pytest.mark.usefixtures("openvino_may_be_taken")
def test_torchs_model_is_not_kept_beside_the_compiled_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langchain_rerank_retriever.runtime.choosing import compiled

    made: list[weakref.ref[Any]] = []
    real = compiled.Source.__init__

    def init(self: Any, model: Any, *args: Any) -> None:
        made.append(weakref.ref(model))
        real(self, model, *args)

    monkeypatch.setattr(compiled.Source, "__init__", init)
    with load(folder) as model:
        gc.collect()
        assert [reference() for reference in made] == [None]
        model.encode(TEXTS)


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_weights_that_are_nan(backend: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny.save_classifier(tmp_path / "model", "bert")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][:] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    # It can be loaded; whoever asks for scores is told.
    scorer = CrossEncoderScorer(folder, backend=backend, precision="float32")
    with scorer, pytest.raises(ScoringError, match="NaN or infinity"):
        scorer.score([("a", "cat")])


@pytest.mark.slow  # starts processes that import all of it
def test_a_signal_after_models_came_and_went(folder: Path) -> None:
    """In a process of its own, because what used to happen was its end."""
    code = f"""
import faulthandler, signal
from langchain_rerank_retriever import PooledEmbeddings
faulthandler.enable()  # a stack for signal handlers, as pytest and others have one
def load():
    return PooledEmbeddings({str(folder)!r}, backend="openvino", precision="float32")
first = load()
second = load()
first.close()
del first
second.close()
del second
signal.signal(signal.SIGINT, lambda *_: print("handled"))
signal.raise_signal(signal.SIGINT)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr[-2000:]

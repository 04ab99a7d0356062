"""Opens hostile folders, each in a fork of a process that has imported everything, and tells what came of it.

One JSON line in, one JSON line out: `python -m tests.reliability.attacks_server`. What an attack does to the fork
(a crash, a hang, a full memory) is told like anything else.
"""

import io
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from .attacks_watch import Watch

#: Bytes of address space that an attack may take more than there are.
MEMORY = 4 * 1024**3
QUERY = "a cat on the table"
TEXTS = [
    "a cat sleeps on the table",
    "the dog barks in the garden",
    "a fish in the river",
    "red house of stone",
    "a bird sits on the paper",
    "music in the morning",
]


def build(folder: Path, **_: Any) -> dict[str, Any]:
    """Make the bundle that attacks are made of: two small models and a store with a snapshot."""
    from langchain_rerank_retriever import CrossEncoderScorer, FaissStore, PooledEmbeddings, RerankRetriever
    from langchain_rerank_retriever.store import snapshots
    from tests.runtime.tiny import save_classifier, save_language_model

    snapshots.MIN_ROWS = 1
    models = folder.parent / "models"
    embeddings = PooledEmbeddings(save_language_model(models / "bi", "bert"), backend="torch")
    scorer = CrossEncoderScorer(save_classifier(models / "cross", "bert", seed=1), backend="torch")
    documents = [f"{text} {turn}" for turn in range(10) for text in TEXTS]
    store = FaissStore.from_texts(
        documents,
        embeddings,
        [{"turn": place} for place in range(len(documents))],
        ids=list(map(str, range(len(documents)))),
        path=folder / "store",
    )
    RerankRetriever(store, reranker=scorer, fetch_k=10, recall_mode="hybrid").save_local(folder)
    for part in (store, embeddings, scorer):
        part.close()
    return {}


def load(folder: Path, **_: Any) -> dict[str, Any]:
    """Open a bundle, search it, check it, change it."""
    from langchain_rerank_retriever import RerankRetriever

    retriever = RerankRetriever.load_local(folder)
    answer = _answers(retriever.invoke(QUERY), retriever.recall)
    retriever.recall.close()
    return answer


def store(folder: Path, **_: Any) -> dict[str, Any]:
    """Open a bundle's store with foreign embeddings, search it, check it, change it."""
    from langchain_rerank_retriever.store import FaissStore
    from langchain_rerank_retriever.testing import HashEmbeddings

    with FaissStore.load_local(folder / "store", HashEmbeddings(32), check_model=False) as opened:
        vector = [1.0] * opened.settings["dimension"] if opened.settings["dimension"] == 32 else [1.0] * 32
        found = opened.similarity_search_by_vector(vector, k=5, filter={"turn": {"$gte": 0}})
        return _answers(found + opened.lexical_search(QUERY, k=5), opened)


def model(folder: Path, **_: Any) -> dict[str, Any]:
    """Load both models by their own classes."""
    from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings

    with (
        PooledEmbeddings(folder / "bi_encoder", backend="torch") as embeddings,
        CrossEncoderScorer(folder / "cross_encoder", backend="torch") as scorer,
    ):
        vector = [round(value, 4) for value in embeddings.embed_query(QUERY)]
        return {"vector": vector, "score": round(scorer.score([(QUERY, TEXTS[0])])[0], 4)}


def _answers(found: list[Any], opened: Any) -> dict[str, Any]:
    checked = opened.verify(deep=True)
    documents = sorted([one.id, one.page_content, one.metadata] for one in opened.documents())
    opened.delete([str(opened.documents().__next__().id)])
    return {"found": [[one.id, one.page_content] for one in found], "documents": documents, "ok": checked.ok}


def command(folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Run `langchain-rerank` on a bundle."""
    from langchain_rerank_retriever.cli import main

    sys.argv = ["langchain-rerank", arguments[0], str(folder), *arguments[1:]]
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def careless(folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Do what the package must never do, so that the tests see that it would be seen."""
    import pickle
    import runpy
    import shutil
    import socket

    deeds: dict[str, Callable[[], Any]] = {
        "pickle": lambda: pickle.loads((folder / "index.pkl").read_bytes()),
        "run": lambda: runpy.run_path(str(folder / "evil.py")),
        "exec": lambda: exec((folder / "evil.py").read_text()),
        "socket": lambda: socket.create_connection(("127.0.0.1", 9)),
        "read": (folder / "../outside/precious.txt").read_text,
        "write": lambda: (folder.parent / "new").write_text("x"),
        "unpack": lambda: shutil.unpack_archive(folder / "a.zip", folder),
        "hang": lambda: time.sleep(600),
        "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "memory": lambda: bytearray(1 << 40),
    }
    deeds[arguments[0]]()
    return {}


OPERATIONS: dict[str, Callable[..., dict[str, Any]]] = {
    one.__name__: one for one in (build, load, store, model, command, careless)
}


def _done(order: dict[str, Any], watch: Watch) -> dict[str, Any]:
    from langchain_rerank_retriever.errors import RerankError

    try:
        answer = OPERATIONS[order["operation"]](Path(order["folder"]), arguments=order.get("arguments", []))
        result: dict[str, Any] = {"end": "answer", "answer": answer}
    except RerankError as error:
        result = {"end": "refused", "error": type(error).__name__, "message": str(error)}
    except BaseException as error:  # told, whatever it is
        result = {"end": "raised", "error": type(error).__name__, "message": str(error)[:500]}
    return result | {"violations": watch.violations}


def _in_a_fork(order: dict[str, Any], pipe: int) -> None:
    """Never returns."""
    try:
        folder = Path(order["folder"])
        if order["operation"] != "build":
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        cache = Path(os.environ["LANGCHAIN_RERANK_CACHE"])
        watch = Watch(folder, folder.parent / "outside", [cache, *map(Path, order.get("allowed", []))])
        watch.install()
        answer = json.dumps(_done(order, watch)).encode()
        while answer:
            answer = answer[os.write(pipe, answer) :]
    finally:
        os._exit(0)


def answered(order: dict[str, Any]) -> dict[str, Any]:
    """Carry out one order."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _in_a_fork(order, writing)
    os.close(writing)
    answer, started = b"", time.monotonic()
    end = started + order["limit"]
    while select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(reading, 1 << 20)
        if not part:
            break
        answer += part
    hangs = time.monotonic() >= end
    if hangs:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    seconds = time.monotonic() - started
    if hangs or not answer:
        end_ = "hangs" if hangs else f"signal {os.waitstatus_to_exitcode(status)}"
        return {"end": end_, "seconds": seconds, "violations": []}
    return {**json.loads(answer), "seconds": seconds}


def main() -> None:
    """Serve until there are no more orders."""
    import sentence_transformers  # noqa: F401 - here once, not in each fork
    import torch

    import langchain_rerank_retriever.cli.app
    import langchain_rerank_retriever.retriever  # noqa: F401
    from langchain_rerank_retriever.runtime.choosing import choice

    torch.set_num_threads(1)
    choice.may_take_openvino = lambda _: False  # type: ignore[assignment]
    answers = os.fdopen(os.dup(1), "w")
    # What a library prints must not get between the answers.
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(answered(json.loads(line))) + "\n")
        answers.flush()
    # Taking the libraries down takes longer than a test.
    os._exit(0)


if __name__ == "__main__":
    main()

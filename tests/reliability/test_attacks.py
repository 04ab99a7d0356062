"""A bundle from a stranger: opening it runs none of its code, touches nothing elsewhere, and comes to an end."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import attacks_bundle, attacks_model, attacks_store
from .attacks import MARKER, Attack, bomb, evil, outside
from .scale import at_scale

ALL: list[Attack] = [
    *attacks_bundle.FILES,
    *attacks_bundle.MANIFEST,
    *attacks_store.FILES,
    *attacks_store.SNAPSHOTS,
    *attacks_store.DATABASES,
    *attacks_model.PICKLES,
    *attacks_model.CODE,
    *attacks_model.LINKS,
    *attacks_model.SHAPES,
]
#: Each takes a process; so fewer runs open fewer.
ATTACKS = ALL[:: at_scale(8, 2, 1)]
#: Of the command that are run on every attack besides.
COMMANDS: list[list[str]] = at_scale(
    [],
    [["info"]],
    [["info"], ["verify", "--deep"], ["search", "a cat", "--explain"], ["info", "--json"]],  # type: ignore[type-var]
)
#: Seconds that opening may take; what hangs takes for ever.
LIMIT = 60.0

Ask = Callable[..., dict[str, Any]]


class Server:
    """The process that opens what is hostile."""

    def __init__(self, cache: Path) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HOME": str(cache / "hub"),
            "LANGCHAIN_RERANK_CACHE": str(cache),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        environment.pop("HF_HUB_OFFLINE", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.attacks_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=Path(__file__).parents[2],
        )

    def ask(self, operation: str, folder: Path, *arguments: str, limit: float = LIMIT) -> dict[str, Any]:
        order = {
            "operation": operation,
            "folder": str(folder),
            "arguments": arguments,
            "limit": limit,
            "allowed": [str(folder.parent)] if operation == "build" else [],
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("cache"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def good(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle that attacks are made of."""
    folder = tmp_path_factory.mktemp("good") / "bundle"
    built = server.ask("build", folder, limit=300)
    assert built["end"] == "answer", built
    return folder


@pytest.fixture(scope="module")
def expected(server: Server, good: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each operation answers from the good bundle."""
    answers = {}
    for operation in ("load", "store", "model"):
        folder = tmp_path_factory.mktemp(operation) / "bundle"
        shutil.copytree(good, folder)
        outside(folder).mkdir()
        result = server.ask(operation, folder)
        assert (result["end"], result["violations"]) == ("answer", []), result
        answers[operation] = result["answer"]
    return answers


@pytest.fixture
def prey(tmp_path: Path, good: Path) -> Path:
    """A copy of the bundle, with something precious beside it."""
    outside(tmp_path / "bundle").mkdir()
    (tmp_path / "outside" / "precious.txt").write_text("of the user")
    shutil.copytree(good, tmp_path / "bundle")
    return tmp_path / "bundle"


def _elsewhere(folder: Path) -> dict[str, Any]:
    """Everything beside the folder."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns, path.lstat().st_nlink)
        for path in sorted(folder.parent.rglob("*"))
        if folder not in (path, *path.parents) and not path.is_dir()
    }


def _check_end(attack: Attack, result: dict[str, Any], right: dict[str, Any]) -> None:
    if result["end"] == "refused":
        assert attack.ends != "same", result
    else:
        assert result["end"] == "answer", result
        assert attack.ends != "refused", result
    if result["end"] == "answer" and attack.ends != "data":
        # Whether verify() finds fault with what was left aside is another matter.
        assert {**result["answer"], "ok": None} == {**right, "ok": None}


def _check_command(result: dict[str, Any]) -> None:
    assert result["end"] == "answer", result
    answer = result["answer"]
    assert answer["code"] in (0, 1, 2), answer
    assert "Traceback" not in answer["err"]
    shown = answer["out"] + answer["err"]
    assert not [one for one in shown if not (one.isprintable() or one in "\n\t")], shown


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.name)
def test_attack(attack: Attack, server: Server, prey: Path, expected: dict[str, Any], goal: Any) -> None:
    with goal("G17") as count:
        attack.make(prey)
        before = _elsewhere(prey)
        result = server.ask(attack.operation, prey)
        assert result["violations"] == []
        _check_end(attack, result, expected[attack.operation])
        for command in COMMANDS:
            result = server.ask("command", prey, *command)
            assert result["violations"] == []
            _check_command(result)
        assert not (prey.parent / MARKER).exists()
        assert _elsewhere(prey) == before
        count.done += 1


@pytest.mark.parametrize(
    ("deed", "seen"),
    [
        ("pickle", "pickle.find_class"),
        ("run", "exec"),
        ("exec", "compile"),
        ("socket", "socket."),
        ("read", "open"),
        ("write", "open"),
    ],
)
def test_what_must_not_happen_is_seen(server: Server, prey: Path, deed: str, seen: str) -> None:
    (prey / "index.pkl").write_bytes(bomb(prey))
    (prey / "evil.py").write_text(evil(prey))
    result = server.ask("careless", prey, deed)
    assert any(violation.startswith(seen) for violation in result["violations"]), result


@pytest.mark.parametrize(("deed", "end"), [("hang", "hangs"), ("crash", "signal -11"), ("memory", "raised")])
def test_what_becomes_of_the_process_is_seen(server: Server, prey: Path, deed: str, end: str) -> None:
    assert server.ask("careless", prey, deed, limit=2)["end"] == end

"""G22: the command, interrupted, ended, without a reader, on a full disk, with bad files, and twice at once.

Whatever happens to it, its exit code is one of those in the package's documentation, it prints no traceback, and the
bundle is as it was or repaired.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from langchain_rerank_retriever.cli.bundled_store import open_store
from langchain_rerank_retriever.evaluation import load_evaluation, write_beir
from tests.cli.conftest import bi_encoder, bundle, cross_encoder, language_model
from tests.training.conftest import animals

from .scale import at_scale
from .signals import CLOSED_PIPE, CONTEXT, FULL_DISK, PRELOADED, Ended, begin, run, signalled
from .signals_demo import MODEL
from .signals_place import (
    BROKEN_PIPE,
    QRELS,
    QUERIES,
    TERMINATED,
    USER_MISTAKE,
    Place,
    check_ended,
    check_quiet,
    check_whole,
    commands,
    contents,
    damage,
    evaluating,
    one_line,
)

__all__ = ["bi_encoder", "bundle", "cross_encoder", "language_model"]

#: To forked processes, to fresh ones, and to the demo, which trains; together 200 at night.
SIGNALS, FRESH, DEMOS = at_scale(4, 16, 160), at_scale(1, 2, 30), at_scale(0, 0, 10)
PAIRS = at_scale(1, 3, 20)


@pytest.fixture(scope="module")
def place(bundle: Path, bi_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("signals")
    write_beir(folder / "data", animals(), QUERIES, {"test": QRELS})
    shutil.copytree(bundle, folder / "bundle")
    made = Place(
        folder / "bundle", folder / "data", (folder / "one.json", folder / "two.json"), folder / "printed"
    )
    made.printed.mkdir()
    CONTEXT.set_forkserver_preload(PRELOADED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MODEL, str(bi_encoder))
        for depth, saved in enumerate(made.saved, start=2):
            asked = evaluating(made, "--save", saved, "--fetch-k", depth)
            assert run(asked, made.printed).code == 0
        yield made


@pytest.mark.timeout(at_scale(600, 900, 7200))
@pytest.mark.parametrize(
    ("fresh", "amount"),
    [
        pytest.param(False, SIGNALS, id="forked", marks=pytest.mark.slow),
        pytest.param(True, FRESH, id="fresh"),
    ],
)
def test_signals_at_random_moments(place: Place, fresh: bool, amount: int, goal: Any, seed: int) -> None:
    rng = random.Random(seed)
    names = list(commands(place)) if not fresh or amount > 10 else ["info"]
    taken: dict[str, float] = {}
    before = contents(place.bundle)
    ended_by_signal = 0
    with goal("G22") as count:
        for turn in range(amount):
            name = names[turn % len(names)]
            arguments = commands(place)[name]
            if name not in taken:
                # Signals come at any time of what the command takes, and a little after.
                whole = run(arguments, place.printed, fresh=fresh)
                assert whole.code == 0, whole
                taken[name] = whole.seconds
            number = rng.choice((signal.SIGINT, signal.SIGTERM))
            if name == "repair":
                damage(place)
            ended = signalled(
                arguments, place.printed, number, rng.uniform(0.001, 1.05 * taken[name]), fresh=fresh
            )
            told = f"{name}, signal {number}, turn {turn}"
            check_ended(ended, number, told)
            ended_by_signal += ended.code != 0
            if name == "repair":
                assert run(arguments, place.printed).code == 0
                check_whole(place, told)
                before = contents(place.bundle)
            assert contents(place.bundle) == before, told
            count.done += 1
        check_whole(place, "after all signals")
        count.note = f"{ended_by_signal} of {amount} {'fresh' if fresh else 'forked'} ended by them"
        assert ended_by_signal >= amount // 4


def test_sigterm_is_told_in_a_line_and_cleans_up(tmp_path: Path) -> None:
    started, scratch = tmp_path / "started", tmp_path / "scratch"
    scratch.mkdir()
    program = (
        "import tempfile, time, pathlib; from langchain_rerank_retriever import cli;"
        "from langchain_rerank_retriever.cli import app\n"
        "def work():\n"
        f"    with tempfile.TemporaryDirectory(dir={str(scratch)!r}):\n"
        f"        pathlib.Path({str(started)!r}).touch()\n"
        "        time.sleep(60)\n"
        "app.main = work\n"
        "cli.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    while not started.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (TERMINATED, "langchain-rerank: terminated\n")
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(("number", "told"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_that_a_library_tells_as_its_own_error(number: signal.Signals, told: str) -> None:
    """As extension modules do whose initialisation was interrupted."""
    program = (
        "import os, signal; from langchain_rerank_retriever import cli;"
        "from langchain_rerank_retriever.cli import app\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def work():\n"
        "    try:\n"
        f"        os.kill(os.getpid(), {number:d})\n"
        "    except BaseException as error:\n"
        "        raise ImportError('initialization failed') from error\n"
        "app.main = work\n"
        "cli.main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (128 + number, f"langchain-rerank: {told}\n")


@pytest.mark.slow
def test_an_evaluation_that_is_interrupted_goes_on(
    place: Place, tmp_path: Path, goal: Any, seed: int
) -> None:
    rng = random.Random(seed)
    whole = run(evaluating(place), place.printed)
    assert whole.code == 0
    with goal("G22") as count:
        for turn in range(at_scale(1, 4, 20)):
            saved, kept = tmp_path / f"{turn}.json", tmp_path / f"{turn}.run"
            arguments = evaluating(place, "--save", saved, "--run-file", kept)
            number = rng.choice((signal.SIGINT, signal.SIGTERM))
            ended = signalled(arguments, place.printed, number, rng.uniform(0.2, 1.0) * whole.seconds)
            check_ended(ended, number, f"turn {turn}")
            # What was to be kept is not there, or whole.
            assert not saved.exists() or load_evaluation(saved).queries == len(QUERIES)
            again = run(arguments, place.printed)
            assert (again.code, again.err) == (0, ""), again
            assert load_evaluation(saved).queries == len(QUERIES)
            count.done += 1


@pytest.mark.slow
def test_indexing_that_is_interrupted_goes_on(
    place: Place, bi_encoder: Path, tmp_path: Path, goal: Any, seed: int
) -> None:
    rng = random.Random(seed)
    source, target = tmp_path / "source.jsonl", tmp_path / "bundle"
    arguments = ["index", source, "--into", target, "--model", bi_encoder]

    def write(version: int) -> set[str]:
        texts = [f"The animal of number {number} in version {version} sleeps." for number in range(200)]
        lines = [json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(texts)]
        source.write_text("".join(lines), encoding="utf-8")
        return set(texts)

    def indexed() -> set[str]:
        store = open_store(target, read_only=True)
        assert store is not None
        with store:
            return {document.page_content for document in store.documents()}

    earlier = write(0)
    whole = run(arguments, place.printed)
    assert (whole.code, indexed()) == (0, earlier), whole
    arguments = arguments[:-2]
    with goal("G22") as count:
        for turn in range(1, 1 + at_scale(1, 4, 20)):
            later, number = write(turn), rng.choice((signal.SIGINT, signal.SIGTERM))
            ended = signalled(arguments, place.printed, number, rng.uniform(0.02, 1.0) * whole.seconds)
            check_ended(ended, number, f"turn {turn}")
            between = indexed()
            assert len(between) == 200
            assert between <= earlier | later
            check_whole(replace(place, bundle=target), f"turn {turn}")
            again = run(arguments, place.printed)
            assert (again.code, indexed()) == (0, later), again
            earlier = later
            count.done += 1


@pytest.mark.skipif(not DEMOS, reason="trains for seconds each time; at night")
def test_signals_while_the_demo_trains(place: Place, tmp_path: Path, goal: Any, seed: int) -> None:
    rng = random.Random(seed)
    target = tmp_path / "bundle"
    arguments = ["demo", "--packages", "numpy", "--minutes", "0.05", "--output", target]
    whole = run(arguments, place.printed)
    assert whole.code == 0, whole
    with goal("G22") as count:
        for turn in range(DEMOS):
            number = rng.choice((signal.SIGINT, signal.SIGTERM))
            ended = signalled(arguments, place.printed, number, rng.uniform(0.1, 1.0) * whole.seconds)
            check_ended(ended, number, f"turn {turn}")
            checked = run(["verify", target, "--deep"], place.printed)
            assert checked.code == 0, (turn, checked)
            count.done += 1


@pytest.mark.slow
@pytest.mark.parametrize("out", [CLOSED_PIPE, FULL_DISK], ids=["closed", "full"])
def test_output_that_cannot_be_written(place: Place, out: Path) -> None:
    names = at_scale(["info", "compare"], ["info", "evaluate", "compare"], list(commands(place)))
    # What others here were killed at may lie in the log still, and comes into the file with the next command.
    assert run(commands(place)["repair"], place.printed).code == 0
    before = contents(place.bundle)
    for name in names:
        for options in ([], ["--json"]):
            ended = run([*commands(place)[name], *options], place.printed, out=out)
            if out == CLOSED_PIPE:
                assert (ended.code, ended.err) == (BROKEN_PIPE, ""), (name, ended)
            else:
                assert ended.code == USER_MISTAKE, (name, ended)
                assert "No space left on device" in one_line(ended), name
    for options in (["--help"], ["--version"], ["search", "--help"]):
        ended = run(options, place.printed, out=out)
        assert ended.code == (BROKEN_PIPE if out == CLOSED_PIPE else USER_MISTAKE), (options, ended)
        check_quiet(ended, str(options))
    assert contents(place.bundle) == before


BAD_LINES = {
    "torn": b'{"_id": "q90", "te',
    "no object": b'["q90", "text"]',
    "no text": b'{"_id": "q90"}',
    "no id": b'{"text": "whale"}',
    "a number for a text": b'{"_id": "q90", "text": 7}',
    "the id of another": b'{"_id": "q1", "text": "whale"}',
    "no UTF-8": b'{"_id": "q90", "text": "\xff\xfe"}',
    "a NUL in its place": b"\x00\x00\x00",
}
NESTED = b"[" * 100_000


@pytest.mark.parametrize("bad", [*BAD_LINES, "nested deeply"])
def test_a_bad_line_is_one_line(place: Place, tmp_path: Path, bad: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(place.data, data)
    lines = (data / "queries.jsonl").read_bytes().splitlines()
    lines.insert(7, BAD_LINES.get(bad, NESTED))
    (data / "queries.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    ended = run(["evaluate", place.bundle, "--beir", data], place.printed)
    assert (ended.code, ended.out) == (USER_MISTAKE, ""), ended
    told = one_line(ended)
    assert ("queries.jsonl is not UTF-8" if bad == "no UTF-8" else "queries.jsonl, line 8: ") in told


@pytest.mark.slow
def test_bad_files_of_other_commands(place: Place, tmp_path: Path) -> None:
    torn = tmp_path / "torn.json"
    torn.write_bytes(place.saved[0].read_bytes()[:-40])
    answers = tmp_path / "answers"
    assert run(evaluating(place, "--run-file", answers), place.printed).code == 0
    lines = answers.read_bytes().splitlines(keepends=True)
    answers.write_bytes(b"".join([*lines[:5], b'{"query": "q5", "sec\n', *lines[6:]]))
    for arguments, named in (
        (["compare", place.saved[0], torn], "torn.json"),
        (evaluating(place, "--against", torn), "torn.json"),
        (evaluating(place, "--run-file", answers), "Line 6"),
    ):
        ended = run(arguments, place.printed)
        assert (ended.code, ended.out) == (USER_MISTAKE, ""), ended
        assert named in one_line(ended)


def both(place: Place, first: Sequence[object], second: Sequence[object]) -> list[Ended]:
    running = [begin(one, place.printed) for one in (first, second)]
    return [one.ended() for one in running]


@pytest.mark.slow
def test_two_at_once(place: Place, seed: int) -> None:
    rng = random.Random(seed)
    known = commands(place)
    for turn in range(PAIRS):
        damage(place)
        second = rng.choice(("repair", "search", "verify", "info", "evaluate"))
        ended = both(place, known["repair"], known[second])
        # Whoever looks before the repair sees what is to be repaired, and says so.
        allowed = (0, 1) if second == "verify" else (0,)
        assert ended[0].code == 0, (turn, ended)
        assert ended[1].code in allowed, (turn, second, ended)
        check_quiet(ended[0], second)
        check_quiet(ended[1], second)
        check_whole(place, f"{turn}: repair and {second}")


@pytest.mark.slow
def test_one_is_interrupted_and_the_other_is_not_disturbed(place: Place, goal: Any, seed: int) -> None:
    rng = random.Random(seed)
    known = commands(place)
    with goal("G22") as count:
        for turn in range(PAIRS):
            damage(place)
            interrupted, other = begin(known["repair"], place.printed), begin(known["repair"], place.printed)
            number = rng.choice((signal.SIGINT, signal.SIGTERM))
            if interrupted.wait(rng.uniform(0.001, 0.3)) is None:
                interrupted.send(number)
            check_ended(interrupted.ended(), number, f"turn {turn}")
            ended = other.ended()
            assert (ended.code, ended.err) == (0, ""), (turn, ended)
            check_whole(place, f"turn {turn}")
            count.done += 1


@pytest.mark.slow
def test_two_evaluations_into_one_run_file(place: Place, tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    ended = both(place, *2 * [evaluating(place, "--run-file", answers)])
    assert 0 in {one.code for one in ended}
    for one in ended:
        if one.code != 0:
            assert one.code == USER_MISTAKE
            assert "Another process writes to" in one_line(one)
    assert [json.loads(line)["query"] for line in answers.read_bytes().splitlines()[1:]] == list(QUERIES)

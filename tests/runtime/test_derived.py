"""The cache itself: what is written is read, or nothing is."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_rerank_retriever.runtime.choosing import derived
from tests.runtime.damage import be_another_thing, become_a_folder, cut, flip, garble

pytestmark = pytest.mark.usefixtures("cache")

KEY = derived.key_of({"what": "a test"})


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    content=st.binary(max_size=300),
    facts=st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.floats(allow_nan=False)),
)
def test_what_is_written_is_read(content: bytes, facts: dict[str, Any]) -> None:
    derived.write(KEY, facts, content)
    assert derived.read(KEY) == (facts, content)


def test_there_is_nothing_before() -> None:
    assert derived.read(KEY) is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    place=st.integers(0, 10**6), bit=st.integers(0, 7), name=st.sampled_from(["entry.json", "content.bin"])
)
def test_no_flipped_bit_goes_unseen(place: int, bit: int, name: str, cache: Path) -> None:
    facts, content = {"precision": "bfloat16", "correlation": 0.9971}, b"a compiled model" * 3
    derived.write(KEY, facts, content)
    path = cache / KEY / name
    damaged = bytearray(path.read_bytes())
    damaged[place % len(damaged)] ^= 1 << bit
    path.write_bytes(damaged)
    # White space and the names of JSON's escapes may change without a change of meaning; nothing else may.
    assert derived.read(KEY) in (None, (facts, content))
    if name == "content.bin":
        assert derived.read(KEY) is None


def test_keys_depend_on_all_that_is_described() -> None:
    base = {"a": 1, "b": ["x", "y"]}
    others = [{"a": 2, "b": ["x", "y"]}, {"a": 1, "b": ["y", "x"]}, {"a": 1}, {"a": 1, "b": ["xy"]}]
    assert derived.key_of(base) == derived.key_of({"b": ["x", "y"], "a": 1})
    assert len({derived.key_of(one) for one in [base, *others]}) == 5


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LANGCHAIN_RERANK_CACHE", "~/here")
    assert derived.cache_folder() == Path.home() / "here"
    monkeypatch.delenv("LANGCHAIN_RERANK_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert derived.cache_folder() == tmp_path / "langchain-rerank-retriever"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert derived.cache_folder() == Path.home() / ".cache" / "langchain-rerank-retriever"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert derived.cache_folder() == Path.home() / "Library" / "Caches" / "langchain-rerank-retriever"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert derived.cache_folder() == tmp_path / "langchain-rerank-retriever"


# ---------------------------------------------------------------- room


def key(number: int) -> str:
    return derived.key_of({"number": number})


def fill(cache: Path, count: int, size: int = 1000) -> None:
    """Entries that were used one after the other, long ago."""
    for number in range(count):
        derived.write(key(number), {}, bytes(size))
        os.utime(cache / key(number), (number, number))


def present(count: int) -> list[int]:
    return [number for number in range(count) if (derived.cache_folder() / key(number)).exists()]


def test_what_was_not_used_for_longest_goes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(cache, 5)
    assert derived.read(key(0)) is not None
    monkeypatch.setattr(derived, "LARGEST", 4500)
    derived.write(key(5), {}, bytes(1000))
    # Each is a thousand bytes and a manifest of less than a hundred and fifty; the first was read just now.
    assert present(6) == [0, 3, 4, 5]


def test_one_that_is_too_large_stays_alone_until_there_is_another(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cache, 3)
    monkeypatch.setattr(derived, "LARGEST", 2000)
    derived.write(key(3), {}, bytes(5000))
    assert present(4) == [3]
    assert derived.read(key(3)) == ({}, bytes(5000))
    os.utime(cache / key(3), (1, 1))
    derived.write(key(4), {}, bytes(10))
    assert present(5) == [4]


def test_other_things_in_the_folder_are_not_touched(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(cache, 2)
    for name in ("fontconfig", "abc", "0" * 31, "f" * 33, ".hidden"):
        (cache / name).mkdir()
        (cache / name / "content.bin").write_bytes(bytes(9000))
        os.utime(cache / name, (0, 0))
    (cache / "deadbeef").write_text("a file")
    before = {path.name for path in cache.iterdir()}
    monkeypatch.setattr(derived, "LARGEST", 1)
    derived.write(key(2), {}, bytes(1000))
    assert before - {path.name for path in cache.iterdir()} == {key(0), key(1)}
    assert (cache / "fontconfig" / "content.bin").stat().st_size == 9000


def test_what_a_killed_process_left(cache: Path) -> None:
    fill(cache, 1)
    young, old = cache / f".{key(1)}.tmp-abc", cache / f".{key(2)}.tmp-xyz"
    for scratch in (young, old):
        scratch.mkdir()
        (scratch / "content.bin").write_bytes(b"half of a mod")
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    derived.write(key(1), {"whole": True}, b"model")
    assert derived.read(key(1)) == ({"whole": True}, b"model")
    assert young.exists()
    assert not old.exists()


def test_an_entry_of_which_half_is_removed(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(cache, 1)
    (cache / key(0) / "entry.json").unlink()
    assert derived.read(key(0)) is None
    assert "is not read" in caplog.text
    derived.write(key(0), {"again": 1}, b"x")
    assert derived.read(key(0)) == ({"again": 1}, b"x")


@pytest.mark.parametrize("name", ["entry.json", "content.bin"])
@pytest.mark.parametrize("damage", [flip, cut, garble, be_another_thing, Path.unlink, become_a_folder])
def test_a_damaged_entry(
    damage: Callable[[Path], None], name: str, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    derived.write(KEY, {"a": [1, 2]}, b"content of an entry")
    damage(cache / KEY / name)
    assert derived.read(KEY) is None
    assert [one for one in caplog.messages if "is not read" in one and "made again" in one]


def test_one_that_cannot_be_replaced(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(cache, 1)
    # A folder where a file should be cannot be unlinked.
    become_a_folder(cache / key(0) / "content.bin")
    assert derived.read(key(0)) is None
    caplog.set_level(logging.DEBUG)
    derived.write(key(0), {}, b"x")
    assert "cannot be removed" in caplog.text
    assert derived.read(key(0)) is None


WRITE = """
import sys
from langchain_rerank_retriever.runtime.choosing import derived
derived.LARGEST = 30_000
own = int(sys.argv[1])
for turn in range(60):
    number = (turn * 7 + own * 3) % 12
    content = bytes([number]) * 4000
    found = derived.read(derived.key_of({"number": number}))
    if found is not None and found != ({"number": number}, content):
        sys.exit(f"wrong: {found[0]}")
    derived.write(derived.key_of({"number": number}), {"number": number}, content)
"""


def test_two_processes_that_read_write_and_make_room(cache: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(own)], stderr=subprocess.PIPE) for own in range(2)
    ]
    for process in running:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors.decode()
        assert b"Traceback" not in errors
    # Each leaves no more than the bound, and the other's newest entry.
    sizes = [path.stat().st_size for path in cache.glob("*/content.bin")]
    assert 0 < sum(sizes) <= 30_000 + 4000
    assert not list(cache.glob(".*tmp*"))


def test_manifests_are_json_that_people_can_read(cache: Path) -> None:
    derived.write(KEY, {"quantisation": {"correlation": 0.9971, "texts": 128}}, b"abc")
    entry = json.loads((cache / KEY / "entry.json").read_text())
    assert entry["facts"] == {"quantisation": {"correlation": 0.9971, "texts": 128}}
    shutil.rmtree(cache)
    assert derived.read(KEY) is None

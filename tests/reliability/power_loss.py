"""What a disk would hold after a power loss, by what was synced until then.

A `Disk` follows a folder while a script plays: `os.fsync` of a file makes its content durable, `os.fsync` of a folder
the names in it. An image is a copy of the folder as a loss would leave it: every content that was not synced is
deleted, zeroed, cut to half, has one bit flipped or is there; every name that was made, replaced or removed since its
folder was synced is there or not, each change by itself and renames whole, as POSIX allows.

What SQLite writes cannot be seen from here. Its databases run with `synchronous=FULL`, which is checked, and count as
follows, by what SQLite documents:

* A database file is durable, as it is, when a call has returned outside of a transaction; a write-ahead log likewise,
  and what is behind the end that it had then is damaged like any file.
* The folder is synced when a log or journal is begun, but not when one is removed. So until the folder is synced, what
  a journal could undo may be undone, though the transaction had returned.
* The memory that processes share is gone. What VACUUM INTO writes is not synced.

So the syncs inside SQLite are believed, and all others are tested.
"""

import os
import random
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .steps import Step, watched
from .steps_scripts import Script

Entries = dict[str, int]
#: What one change made of names: the number of the file that each has since then; None for none.
Change = dict[str, int | None]
_LOG = "-wal"
#: Gone after a loss: the memory that processes share, and the journal, for which see above.
_GONE = ("-shm", "-journal")
#: Where a database says, and how, that it has a write-ahead log.
_MODE, _LOGGED = 18, 2
#: What PRAGMA synchronous says for FULL.
_FULL = 2


@dataclass
class _Folder:
    """Names in a folder: those that are durable, the changes since, and how it was last seen."""

    durable: Entries = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    seen: Entries = field(default_factory=dict)

    def note(self, entries: Entries) -> None:
        before, self.seen = self.seen, entries
        made = {name: number for name, number in entries.items() if before.get(name) != number}
        for name in before.keys() - entries.keys():
            change: Change = {name: None}
            # Renamed, which is one change.
            change.update({other: made.pop(other) for other in list(made) if made[other] == before[name]})
            self.changes.append(change)
        self.changes += [{name: number} for name, number in made.items()]

    def sync(self) -> None:
        self.durable, self.changes = dict(self.seen), []

    def sync_database(self, name: str) -> None:
        """Have SQLite sync the names of its files: when it began its newest log, but not when it removed one."""
        log = name + _LOG
        own = [change for change in self.changes if change.keys() & {name, log}]
        begun = [place for place, change in enumerate(own) if change.get(log)]
        for change in own[: begun[-1] + 1 if begun else 0]:
            _apply(change, self.durable)
            self.changes.remove(change)
        if name in self.seen:
            self.durable[name] = self.seen[name]

    def survivors(self, rng: random.Random) -> Entries:
        """The names after a loss."""
        entries = dict(self.durable)
        share = rng.choice((0.0, 0.5, 1.0))
        for change in self.changes:
            if rng.random() < share:
                _apply(change, entries)
        return entries


def _apply(change: Change, entries: Entries) -> None:
    for name, number in change.items():
        if number is None:
            entries.pop(name, None)
        else:
            entries[name] = number


class Disk:
    """Follows a folder, which is durable as it is at first.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._top = root.stat().st_ino
        self._folders: dict[int, _Folder] = {}
        #: Open for as long as this lives, so that no number is given away again and what is removed can be read.
        self._descriptors: dict[int, int] = {}
        self._durable: dict[int, bytes] = {}
        #: What databases held before a transaction that a journal may still undo.
        self._undone: dict[int, bytes] = {}
        #: The last of each database.
        self._statements: dict[Path, Step] = {}
        self.look()
        for folder in self._folders.values():
            folder.sync()

    def close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    def look(self) -> None:
        """Note which names have changed, and what SQLite has done since the last statement."""
        self._look(self._root)
        for step in self._statements.values():
            if step.database is not None and _is_over(step):
                self._sync_database(step.database)

    def note(self, step: Step) -> None:
        """Note that a step has been taken."""
        if step.database is not None:
            # Some statements end only when their answer is let go of, so this is looked at again.
            self._statements[step.database] = step
        self.look()
        if step.descriptor is not None:
            self._sync(step.descriptor)

    def _look(self, path: Path) -> None:
        entries: Entries = {}
        for entry in sorted(path.iterdir()):
            status = entry.lstat()
            entries[entry.name] = status.st_ino
            if status.st_ino not in self._descriptors:
                self._descriptors[status.st_ino] = os.open(entry, os.O_RDONLY)
            if stat.S_ISDIR(status.st_mode):
                self._look(entry)
        self._folder(path.stat().st_ino).note(entries)

    def _folder(self, number: int) -> _Folder:
        return self._folders.setdefault(number, _Folder())

    def _sync(self, descriptor: int) -> None:
        """Note that a file or folder was synced."""
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            self._folder(status.st_ino).sync()
            for number in self._folder(status.st_ino).seen.values():
                self._undone.pop(number, None)
        elif status.st_ino in self._descriptors:
            self._durable[status.st_ino] = self._content(status.st_ino)

    def _sync_database(self, file: Path) -> None:
        """Note that a call of SQLite has returned, outside of a transaction."""
        if not file.parent.is_dir():
            return
        folder = self._folder(file.parent.stat().st_ino)
        folder.sync_database(file.name)
        if file.name in folder.seen:
            number = folder.seen[file.name]
            before, content = self._durable.get(number, b""), self._content(number)
            if content != before and before[_MODE : _MODE + 1] != bytes((_LOGGED,)):
                self._undone[number] = before
            self._durable[number] = content
            log = folder.seen.get(file.name + _LOG)
            if log is not None and (frames := self._content(log)):
                self._durable[log] = frames
                self._undone.pop(number, None)

    def _content(self, number: int) -> bytes:
        descriptor = self._descriptors[number]
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def image(self, target: Path, rng: random.Random) -> None:
        """Make a copy of the folder as a power loss would leave it."""
        self._image(self._top, target, rng)

    def _image(self, number: int, target: Path, rng: random.Random) -> None:
        target.mkdir()
        for name, inner in self._folder(number).survivors(rng).items():
            if stat.S_ISDIR(os.fstat(self._descriptors[inner]).st_mode):
                self._image(inner, target / name, rng)
            elif not name.endswith(_GONE):
                content = self._survivor(inner, rng)
                if content is not None:
                    (target / name).write_bytes(content)

    def _survivor(self, number: int, rng: random.Random) -> bytes | None:
        durable, content = self._durable.get(number), self._content(number)
        if content == durable:
            return rng.choice((content, self._undone.get(number, content)))
        if durable is None and rng.random() < 0.2:
            return None
        kept = _same(durable or b"", content)
        return rng.choice((durable or b"", content[:kept] + damaged(content[kept:], rng)))


def _same(one: bytes, other: bytes) -> int:
    """At how many bytes two contents begin to differ."""
    shorter = min(len(one), len(other))
    left, right = (np.frombuffer(content, dtype=np.uint8, count=shorter) for content in (one, other))
    return next(iter(np.flatnonzero(left != right).tolist()), shorter)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Data as it may be found where it was not synced."""
    flipped = bytearray(data)
    if flipped:
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return rng.choice((bytes(len(data)), data[: len(data) // 2], bytes(flipped), data))


@dataclass
class Losses:
    """Plays scripts and checks what power losses between their steps leave.

    Attributes:
        share: How likely one is before a step.
        folder: For what is written.
        done: How many were checked.
    """

    share: float
    folder: Path
    done: int = 0

    def play(self, script: Script, seed: int) -> None:
        rng = random.Random(seed)
        root, image = self.folder / f"root-{seed}", self.folder / "image"
        root.mkdir(parents=True)
        disk, returned, failures = Disk(root), [0], []

        def before(_step: Step) -> None:
            disk.look()
            if rng.random() < self.share and not failures:
                # An error in a thread of the store would be lost.
                try:
                    disk.image(image, rng)
                    self._check(script, image, returned[0])
                except Exception as error:
                    failures.append(error)

        def done() -> None:
            returned[0] += 1

        try:
            with watched(before, disk.note):
                script.play(root, done)
            for failure in failures:
                raise failure
            # The power may also fail long after.
            disk.look()
            disk.image(image, rng)
            self._check(script, image, returned[0])
        finally:
            disk.close()

    def _check(self, script: Script, image: Path, returned: int) -> None:
        try:
            script.check(image, returned)
        finally:
            shutil.rmtree(image)
        self.done += 1


def _is_over(step: Step) -> bool:
    """Whether what SQLite was asked for is durable by its own account."""
    # The journal's mode cannot be changed within a transaction, so one that is open was begun later, to read.
    if step.name in ("close", "PRAGMA journal_mode") or step.connection is None:
        return True
    if step.name == "BEGIN IMMEDIATE":
        assert step.connection.execute("PRAGMA synchronous").fetchone()[0] >= _FULL
    return not step.connection.in_transaction

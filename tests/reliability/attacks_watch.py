"""What Python does while a hostile folder is opened: an audit hook that writes down all that must not happen."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType
from typing import Any

#: Stands in every piece of code that an attack brings along.
CANARY = "canary_of_an_attack"

#: Never, whatever the arguments.
_FORBIDDEN = (
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.kill",
    "pty.spawn",
    "subprocess.Popen",
    "shutil.unpack_archive",
    "sqlite3.enable_load_extension",
    "sqlite3.load_extension",
    "webbrowser.open",
    "http.client.connect",
    "urllib.Request",
    "code.__new__",
)
#: These change what lies at their first arguments.
_CHANGING = {
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.mkdir": 1,
    "os.link": 2,
    "os.symlink": 2,
    "os.truncate": 1,
    "os.chmod": 1,
    "os.chown": 1,
    "shutil.rmtree": 1,
    "shutil.move": 2,
    "shutil.copyfile": 2,
    "shutil.copytree": 2,
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Collects violations; once installed it stays for as long as the process."""

    def __init__(self, folder: Path, outside: Path, allowed: Iterable[Path]) -> None:
        """Prepare.

        Args:
            folder: The attack: no code of it may run.
            outside: May not even be read.
            allowed: Where writing is right.
        """
        self.violations: list[str] = []
        self._folder, self._outside = str(folder), str(outside)
        self._allowed = (str(folder), *map(str, allowed), os.devnull)
        self._at_work = False

    def install(self) -> None:
        """Watch from now on."""
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._at_work:
            return
        self._at_work = True
        try:
            if self._is_wrong(event, arguments):
                self.violations.append(f"{event} {arguments!r}"[:300])
        finally:
            self._at_work = False

    def _is_wrong(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event in _FORBIDDEN or (event.startswith("socket.") and event != "socket.gethostname"):
            return True
        if event in ("exec", "compile", "import", "ctypes.dlopen", "marshal.loads"):
            return self._is_foreign(event, arguments)
        if event == "open":
            return self._is_wrong_open(*arguments)
        if event == "sqlite3.connect":
            return self._is_outside(arguments[0])
        return event in _CHANGING and any(self._is_elsewhere(path) for path in arguments[: _CHANGING[event]])

    def _is_foreign(self, event: str, arguments: tuple[Any, ...]) -> bool:
        """Whether code comes from the attack."""
        if event == "exec" and isinstance(arguments[0], CodeType):
            code = arguments[0]
            return self._is_within(code.co_filename) or CANARY in code.co_names + code.co_consts
        if event == "marshal.loads":
            return isinstance(arguments[0], bytes) and CANARY.encode() in arguments[0]
        return any(
            isinstance(one, str | bytes) and (self._is_within(one) or CANARY in os.fsdecode(one))
            for one in arguments[:2]
        )

    def _is_wrong_open(self, path: Any, mode: Any, flags: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        writing = bool(flags & _WRITING) if isinstance(flags, int) else bool(set(mode or "") & set("wax+"))
        return self._is_outside(path) or (writing and self._is_elsewhere(path))

    def _is_within(self, path: str | bytes) -> bool:
        return os.path.normpath(os.fsdecode(path)).startswith(self._folder)

    def _is_outside(self, path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        return self._outside in os.path.normpath(os.fsdecode(path))

    def _is_elsewhere(self, path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        # Links are not followed: what counts is the name that was asked for.
        return not os.path.abspath(os.fsdecode(path)).startswith(self._allowed)  # noqa: PTH100

"""Empty virtual environments, with the wheel and an extra in each."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from tests.packaging.artefacts import ROOT

Installer = Literal["uv", "pip"]

#: uv reads none of pip's settings; those that say where packages are it gets told.
_SETTINGS = {
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_CERT": "SSL_CERT_FILE",
}


def default_installer() -> Installer:
    """Return uv where it is installed: it makes in seconds what takes pip a minute."""
    return "pip" if find_spec("uv") is None else "uv"


@dataclass(frozen=True, slots=True)
class Environments:
    """Makes environments, one at a time, all in the same place.

    So that the bytecode of one serves the next: files that uv links have the same times everywhere.

    Attributes:
        folder: Outside the checkout.
        wheel: What is installed.
        python: The interpreter.
        installer: What installs it.
    """

    folder: Path
    wheel: Path
    python: str
    installer: Installer

    def make(self, extra: str | None) -> Path:
        """Make the next one and return its interpreter; the one before is gone."""
        place = self.folder / "environment"
        shutil.rmtree(place, ignore_errors=True)
        wanted = f"{self.wheel}[{extra}]" if extra else str(self.wheel)
        what = ["--constraint", str(ROOT / "constraints.txt"), wanted]
        interpreter = place / "bin" / "python"
        if self.installer == "uv":
            uv = [sys.executable, "-m", "uv"]
            self._run([*uv, "venv", "--quiet", "--no-project", "--python", self.python, str(place)])
            self._run([*uv, "pip", "install", "--quiet", "--python", str(interpreter), *what])
        else:
            self._run([self.python, "-m", "venv", str(place)])
            self._run([str(interpreter), "-m", "pip", "install", "--quiet", *what])
        return interpreter

    def environment(self) -> Mapping[str, str]:
        """Return the variables of whatever runs in one: no hub, no bars, no path to the checkout."""
        own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        return own | {
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_OFFLINE": "1",
            "LANGCHAIN_RERANK_CACHE": str(self.folder / "cache"),
            "PYTHONPYCACHEPREFIX": str(self.folder / "bytecode"),
        }

    def _run(self, command: Sequence[str]) -> None:
        settings = {theirs: os.environ[ours] for ours, theirs in _SETTINGS.items() if ours in os.environ}
        subprocess.run(command, check=True, cwd=self.folder, env=self.environment() | settings)

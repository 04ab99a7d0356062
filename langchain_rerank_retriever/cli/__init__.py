"""The command `langchain-rerank`, which `main` runs.

```console
$ langchain-rerank index docs/ faq.csv --into my-bundle --model intfloat/multilingual-e5-small
$ langchain-rerank search my-bundle "how do I reset it?" --explain
$ langchain-rerank tune --bundle my-bundle train.jsonl --output tuned-bundle
```

Standard output is data, standard error is progress, and `--json` makes the data JSON. Exit codes:

* 0: it went well;
* 1: the answer is "no": nothing was better (`tune`), a gate failed (`evaluate`), something is wrong (`verify`,
  `repair`);
* 2: a mistake of the user's or a full disk, told in one line;
* 130: interrupted;
* 141: the reader of standard output has gone;
* 143: ended by SIGTERM, with temporary files removed; a second SIGTERM ends it at once.

`langchain-rerank --install-completion` has the shell complete commands and options (bash, zsh, fish, PowerShell).

The same from Python: `langchain_rerank_retriever.training`, `langchain_rerank_retriever.evaluation`,
`langchain_rerank_retriever.bundle`.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130  # 128 + SIGINT
TERMINATED = 143  # 128 + SIGTERM


class _Terminated(SystemExit):
    """SIGTERM has come; goes up through everything that has to be cleaned up."""


@contextmanager
def _termination_cleans_up() -> Iterator[None]:
    """Within the block SIGTERM raises `_Terminated`; where it is ignored or handled already, that stays."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    command = os.getpid()

    def terminate(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != command:
            os.kill(os.getpid(), number)  # a forked process, which has nothing of ours to clean up
        raise _Terminated(TERMINATED)

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _signal_behind(error: BaseException) -> BaseException | None:
    """What a signal raised, of which a library that was being imported may tell as an error of its own."""
    below: BaseException | None = error
    while below is not None and not isinstance(below, _Terminated | KeyboardInterrupt):
        below = below.__cause__
    return below


def main() -> None:
    """Run the command line."""
    try:
        with _termination_cleans_up():
            # Takes a part of a second, in which Ctrl-C is pressed, too.
            from langchain_rerank_retriever.cli.app import main as run

            run()
    except BaseException as error:
        match _signal_behind(error):
            case None:
                raise
            case _Terminated():
                sys.stderr.write("langchain-rerank: terminated\n")
                sys.exit(TERMINATED)
            case _:
                sys.stderr.write("langchain-rerank: interrupted\n")
                sys.exit(INTERRUPTED)


__all__ = ["main"]

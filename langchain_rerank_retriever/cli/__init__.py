"""The command `langchain-rerank`.

Standard output is data, standard error is progress. Exit codes: 0 it went well, 1 the answer is "no", 2 a mistake of
the user's or a full disk, told in one line, 130 interrupted, 141 the reader of standard output has gone.
"""

import sys

INTERRUPTED = 130  # 128 + SIGINT


def main() -> None:
    """Run the command line."""
    try:
        # Takes a part of a second, in which Ctrl-C is pressed, too.
        from langchain_rerank_retriever.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("langchain-rerank: interrupted\n")
        sys.exit(INTERRUPTED)


__all__ = ["main"]

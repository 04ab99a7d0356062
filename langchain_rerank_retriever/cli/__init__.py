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
* 141: the reader of standard output has gone.

`langchain-rerank --install-completion` has the shell complete commands and options (bash, zsh, fish, PowerShell).

The same from Python: `langchain_rerank_retriever.training`, `langchain_rerank_retriever.evaluation`,
`langchain_rerank_retriever.bundle`.
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

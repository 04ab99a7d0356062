"""Whether a lexical index was made by the rules that queries are cut by; where not, they miss what they should find."""

import warnings

from .analysis import Analyzer


def difference(made_by: str | None, analyzer: Analyzer) -> str | None:
    """What is wrong with a lexical index, in words; None where its rules are those of today.

    Args:
        made_by: The name of the rules that its terms were made by.
        analyzer: By what queries are cut.
    """
    if made_by == analyzer.rules:
        return None
    return (
        f"The lexical index was made by the rules {made_by!r}, but queries are cut by {analyzer.rules!r} now, "
        "so lexical search can miss documents"
    )


class RulesCheck:
    """Warns of rules that differ, once for each store that is open."""

    def __init__(self) -> None:
        self._told = False

    def __call__(self, made_by: str | None, analyzer: Analyzer, *, stacklevel: int) -> None:
        """Compare, as `difference` does.

        Args:
            made_by: The name of the rules that the terms were made by.
            analyzer: By what queries are cut.
            stacklevel: Whose line is shown; 1 is the caller's.
        """
        problem = None if self._told else difference(made_by, analyzer)
        if problem is None:
            return
        self._told = True
        warnings.warn(
            f"{problem}: repair() makes it anew, and so does the next change of the store; neither can be done while "
            "it is open with read_only=True",
            stacklevel=stacklevel + 1,
        )

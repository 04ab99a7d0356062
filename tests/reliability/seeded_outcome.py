"""How tests of a copy of the package ended, as pytest's report tells it."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass

#: Errors that a patch which does not fit the code any more brings about; no test has noticed anything then.
BROKEN_PATCH = (
    "ImportError",
    "ModuleNotFoundError",
    "NameError",
    "UnboundLocalError",
    "SyntaxError",
    "AttributeError",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How some tests ended, by node id: an empty text for passed, else the kind of error and its message.

    Attributes:
        passed: Node ids.
        failed: What was raised, by node id.
        unusable: What else happened: skipped, an error while collecting or in a fixture, a broken patch.
        output: What pytest printed.
    """

    passed: tuple[str, ...]
    failed: dict[str, str]
    unusable: dict[str, str]
    output: str


def judged(report: str, output: str) -> Outcome:
    """Read pytest's report; what failed only because a name is missing counts as a broken patch."""
    passed: list[str] = []
    failed: dict[str, str] = {}
    unusable: dict[str, str] = {}
    for case in ET.fromstring(report).iter("testcase"):
        name = node_id(case)
        problems = [child for child in case if child.tag in {"failure", "error", "skipped"}]
        if not problems:
            passed.append(name)
            continue
        problem = problems[0]
        message = " ".join((problem.get("message") or "").split())
        kind = message.partition(":")[0].rpartition(".")[2]
        if problem.tag == "failure" and kind not in BROKEN_PATCH:
            failed[name] = message
        else:
            unusable[name] = f"{problem.tag}: {message}"
    if not (passed or failed or unusable):
        unusable["pytest"] = "nothing was run"
    return Outcome(tuple(passed), failed, unusable, output)


def node_id(case: ET.Element) -> str:
    """The name by which pytest runs a test again."""
    file, name = case.get("file") or "", case.get("name") or ""
    inner = (case.get("classname") or "").removeprefix(file.removesuffix(".py").replace("/", ".")).strip(".")
    return "::".join([file, *filter(None, inner.split(".")), name])

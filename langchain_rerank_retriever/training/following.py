"""What the processes of a launch do in `tune`: the main one leads, the others follow it."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.errors import LaunchError, StorageError
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.training.fit.encoders import take_part
from langchain_rerank_retriever.training.phases import TuningResult
from langchain_rerank_retriever.training.processes import Together
from langchain_rerank_retriever.training.progress import without_library_bars
from langchain_rerank_retriever.training.proof.promote import Decision
from langchain_rerank_retriever.training.proof.report import SystemReport, TuningReport

logger = logging.getLogger(__name__)


@contextmanager
def leading(together: Together, target: Path) -> Iterator[None]:
    """Within the block the main process works; then the others get their result, or fail as it failed.

    A process that is gone when all is done costs the main one nothing but a warning.

    Args:
        together: The processes.
        target: The bundle that is complete at the end of the block.
    """
    try:
        yield
    except BaseException as error:
        if together.size > 1:
            together.fail(error)
        raise
    try:
        together.same({"result": str(target)})
    except LaunchError:
        logger.warning("The bundle %s is complete. Another process of this launch had ended before.", target)


def follow(together: Together) -> TuningResult:
    """Take part in every training of the main process, until the bundle is there.

    Returns:
        The same report; the retriever is opened read-only.

    Raises:
        LaunchError: The main process failed, or another one is gone.
    """
    with without_library_bars():
        while True:
            said = together.same(None)
            if "result" in said:
                return opened_result(Path(said["result"]))
            take_part(Path(said["train"]), together)


def opened_result(target: Path) -> TuningResult:
    """Open the bundle that `tune` made in another process, read-only.

    Raises:
        StorageError: If it is not there, or has no report.
    """
    retriever = RerankRetriever.load_local(target, read_only=True)
    if retriever.report is None:
        raise StorageError(f"The bundle {target} has no report of tuning; it was changed since.")
    return TuningResult(report_of(retriever.report), retriever, target)


def report_of(data: Mapping[str, Any]) -> TuningReport:
    """Read what `TuningReport.to_dict` gave."""
    return TuningReport(
        **{
            **data,
            "systems": [SystemReport(**one) for one in data["systems"]],
            "decisions": [Decision(**one) for one in data["decisions"]],
            "depth_curve": {int(depth): value for depth, value in data["depth_curve"].items()},
        }
    )

"""Which kind of index a store searches: exact, or a graph where there are enough rows for one to pay."""

from dataclasses import dataclass
from typing import Literal

from .view import View

#: With fewer rows an exact search takes less than a millisecond.
GRAPH_ROWS = 10_000
#: ``"auto"`` takes a graph for more vectors than this. An exact search reads them all, which takes one core 10 to 20
#: ms; below that, embedding the query and re-ranking take longer than anything a graph could save.
AUTO_BYTES = 256 * 1024 * 1024
#: A graph is built anew when this share of the rows is not in it, or of its rows is dead: those outside are searched
#: exactly, at a quarter of the cost of having no graph, and the dead ones are walked over.
_STALE = 0.25


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """How a store searches now.

    Attributes:
        setting: What the store was made with: ``"flat"``, ``"hnsw"`` or ``"auto"``.
        kind: What searches use now; ``"flat"`` until a graph is ready.
        rows: Number of documents.
        graph_rows: How many of them the graph holds; the others are searched exactly.
        segments: In how many parts the vectors lie.
        ef: Width of a search in the graph; None without one.
        recall: Share of the 100 nearest rows that searches found when the graph was built; None without one.
        mapped: Whether vectors are read from a file as searches need them.
        snapshot: Name of the snapshot that the view was read from or written to; None where there is none.
        changes: Documents added, replaced and deleted since that snapshot.
        busy: Whether a snapshot or a graph is due or being made in the background.
    """

    setting: str
    kind: Literal["flat", "hnsw"]
    rows: int
    graph_rows: int
    segments: int
    ef: int | None
    recall: float | None
    mapped: bool
    snapshot: str | None
    changes: int
    busy: bool


def wants_graph(setting: str, view: View) -> bool:
    """Whether a view of its size is to have a graph."""
    if setting == "auto":
        return 4 * len(view) * (view.dimension or 0) >= AUTO_BYTES
    return setting == "hnsw" and len(view) >= GRAPH_ROWS


def is_graph_due(setting: str, view: View) -> bool:
    """Whether a graph is to be built, for the first time or anew."""
    if not wants_graph(setting, view):
        return False
    graphs = [segment for segment in view.segments if segment.graph is not None]
    inside, nodes = sum(segment.count for segment in graphs), sum(len(segment.pks) for segment in graphs)
    return inside < (1 - _STALE) * max(len(view), nodes)


def describe(setting: str, view: View, *, snapshot: str | None, busy: bool) -> IndexInfo:
    """A view in words and numbers."""
    graphs = [(segment, segment.graph) for segment in view.segments if segment.graph is not None]
    return IndexInfo(
        setting=setting,
        kind="hnsw" if graphs else "flat",
        rows=len(view),
        graph_rows=sum(segment.count for segment, _ in graphs),
        segments=len(view.segments),
        ef=max((graph.ef for _, graph in graphs), default=None),
        recall=min((graph.recall for _, graph in graphs), default=None),
        # Arrays that are not in a file can be written to.
        mapped=any(not segment.vectors.flags.writeable for segment in view.segments),
        snapshot=snapshot,
        changes=view.drift,
        busy=busy,
    )

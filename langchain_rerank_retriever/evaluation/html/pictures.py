"""Pictures within a page: as SVG in the page itself, one for a light and one for a dark screen."""

import base64
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from langchain_rerank_retriever.evaluation.plots.canvas import DARK, LIGHT, Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Names that matplotlib gives to parts of an SVG: a letter and the beginning of a random hash.
_RANDOM_NAME = re.compile(r"\b[a-z][0-9a-f]{10}\b")


class Draw(Protocol):
    """Draws one picture in given colours."""

    def __call__(self, *, theme: Theme) -> "Figure":
        """Draw it."""
        ...


@dataclass(frozen=True, slots=True)
class PagePicture:
    """A picture of a page.

    Attributes:
        light: Data URI, on white.
        dark: Data URI, on a dark page.
        says: What it shows, for those who do not see it.
    """

    light: str
    dark: str
    says: str


def page_picture(draw: Draw, says: str) -> PagePicture:
    """Draw a picture twice, without a background of its own."""
    light, dark = (_data_uri(draw(theme=replace(theme, paper="none"))) for theme in (LIGHT, DARK))
    return PagePicture(light, dark, says)


def _data_uri(figure: "Figure") -> str:
    from langchain_rerank_retriever.evaluation.plots.picture import as_bytes

    # Letters are drawn as shapes, so that the page needs no font.
    svg = as_bytes(figure, "svg", metadata={"Date": None, "Creator": None}).decode()
    return f"data:image/svg+xml;base64,{base64.b64encode(_named_in_order(svg).encode()).decode()}"


def _named_in_order(svg: str) -> str:
    """Number the random names, so that the same evaluations give the same page."""
    numbers: dict[str, str] = {}
    return _RANDOM_NAME.sub(lambda found: numbers.setdefault(found[0], f"n{len(numbers)}"), svg)

"""A figure that a notebook shows, drawn without pyplot: no window, no list of open figures, no global setting."""

import io
from typing import Any

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure of matplotlib that is not registered with pyplot, so that nothing has to close it."""

    def _repr_png_(self) -> bytes:
        """Show as a picture in a notebook, also where nothing has set matplotlib up for it."""
        return as_bytes(self, "png", dpi=2 * self.dpi)


def as_bytes(figure: Figure, kind: str, **settings: Any) -> bytes:
    """Draw a figure in one of the formats that matplotlib writes."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, **settings)
    return file.getvalue()

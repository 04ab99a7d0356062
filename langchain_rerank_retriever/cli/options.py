"""Options that several commands have."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a README.")]
Count = Annotated[int, typer.Option("--k", "-k", min=1, help="How many documents.")]

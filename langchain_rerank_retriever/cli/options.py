"""Options that several commands have."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a README.")]
Count = Annotated[int, typer.Option("--k", "-k", min=1, help="How many documents.")]

#: Where and how models run; `bundled_model.Placed` holds them.
_PANEL = "How the models run"
Precision = Annotated[
    str | None,
    typer.Option(
        help="float32, bfloat16, float16, auto or int8 (that of the cross-encoder alone); else as they were saved.",
        rich_help_panel=_PANEL,
    ),
]
Backend = Annotated[
    str | None, typer.Option(help="torch, openvino or auto; else auto.", rich_help_panel=_PANEL)
]
Device = Annotated[
    str | None,
    typer.Option(help="Such as cpu or cuda:1; else a GPU if there is one.", rich_help_panel=_PANEL),
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Most texts or pairs in a batch.", rich_help_panel=_PANEL)
]

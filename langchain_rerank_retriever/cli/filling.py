"""The commands that make bundles of the user's own documents, and what they take; what they do is in their modules."""

from pathlib import Path
from typing import Annotated

import typer

from langchain_rerank_retriever.cli.options import Json

FILES = "JSON lines, CSV, TSV, Parquet, Markdown and text files, or folders of them."

IdColumn = Annotated[
    str | None,
    typer.Option(
        help="Column with ids; without it, id or _id, or ids by the text.", rich_help_panel="Tables"
    ),
]
TextColumn = Annotated[
    list[str] | None,
    typer.Option(
        help="Column with the text; several are joined. Without it, text, page_content, content or passage.",
        rich_help_panel="Tables",
    ),
]
MetadataColumn = Annotated[
    list[str] | None,
    typer.Option(help="Column to keep as metadata; without it, all others.", rich_help_panel="Tables"),
]
Encoding = Annotated[
    str, typer.Option(help="Of all but Parquet files, such as cp949.", rich_help_panel="Reading")
]
SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad", help="Leave out and count what cannot be read.", rich_help_panel="Reading"),
]
ChunkSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Most tokens of a chunk; without it, what the model reads, at most 256. Cuts the texts of tables, too, "
        "which stay whole otherwise.",
        rich_help_panel="Chunks",
    ),
]
ChunkOverlap = Annotated[
    int | None,
    typer.Option(
        min=0, help="Tokens that the next chunk repeats; without it, an eighth.", rich_help_panel="Chunks"
    ),
]
Chunks = Annotated[bool, typer.Option(help="Cut texts and Markdown into chunks.", rich_help_panel="Chunks")]


def index(  # noqa: PLR0913, PLR0917 - one parameter an option
    files: Annotated[list[Path], typer.Argument(help=FILES)],
    into: Annotated[Path, typer.Option(help="Folder of the bundle, an earlier one or a new one.")],
    model: Annotated[
        str | None, typer.Option(help="Bi-encoder, a folder or a hub name; needed for a new bundle.")
    ] = None,
    reranker: Annotated[
        str | None, typer.Option(help="Cross-encoder of a new bundle; without it, there is none.")
    ] = None,
    lexical: Annotated[
        str | None,
        typer.Option(
            help="Language of a new bundle's lexical index, such as korean, or none; without it, English and more."
        ),
    ] = None,
    index_: Annotated[
        str | None, typer.Option("--index", help="How a new bundle searches: flat, hnsw or auto.")
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete documents of earlier runs whose file is not of this one.")
    ] = False,
    distinct: Annotated[
        bool, typer.Option("--distinct", help="Of documents with the same text, index only the first.")
    ] = False,
    id_column: IdColumn = None,
    text_column: TextColumn = None,
    metadata_column: MetadataColumn = None,
    chunk_size: ChunkSize = None,
    chunk_overlap: ChunkOverlap = None,
    chunks: Chunks = True,
    encoding: Encoding = "utf-8",
    skip_bad: SkipBad = False,
    json_: Json = False,
) -> None:
    """Index files in a bundle. Run again, it embeds what changed, and deletes what is not in the files any more.

    Everything is read once before anything is changed. An interrupted run keeps what it has indexed, and the same
    command goes on from there.

    Example: langchain-rerank index docs --into my-bundle --model intfloat/multilingual-e5-small

    A table: langchain-rerank index faq.csv --into my-bundle --text-column question --text-column answer
    """
    from langchain_rerank_retriever.cli import index as command
    from langchain_rerank_retriever.cli.documents.records import Columns
    from langchain_rerank_retriever.cli.files import Chunking, Files
    from langchain_rerank_retriever.cli.filled_bundle import Parts

    columns = Columns(id_column, tuple(text_column or ()), tuple(metadata_column or ()))
    chunking = Chunking(size=chunk_size, overlap=chunk_overlap, wanted=chunks)
    reading = Files(paths=files, columns=columns, encoding=encoding, skip_bad=skip_bad, chunking=chunking)
    parts = Parts(model=model, reranker=reranker, lexical=lexical, index=index_)
    command.run(reading, into, parts, prune=prune, distinct=distinct, as_json=json_)


def tune(  # noqa: PLR0913, PLR0917 - one parameter an option
    documents: Annotated[
        list[Path],
        typer.Argument(
            help=FILES + " None with --bundle.",
            metavar="[DOCUMENTS]...",
            show_default=False,
            default_factory=list,
        ),
    ],
    training_data: Annotated[
        Path,
        typer.Argument(
            help="Queries with the ids or texts of what answers them: JSON lines, CSV, TSV, Parquet or BEIR."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder of the bundle that is made.")] = Path("tuned-bundle"),
    model: Annotated[
        str | None,
        typer.Option(help="Bi-encoder to start from, a folder or a hub name; without it, the bundle's."),
    ] = None,
    reranker: Annotated[
        str,
        typer.Option(
            help="warm trains one from the tuned bi-encoder, none has none; or a name to start from."
        ),
    ] = "warm",
    bundle: Annotated[
        Path | None, typer.Option(help="Take the documents from this bundle, in place of files.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget for everything; without it, 10.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of each encoder, in place of minutes.")
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(help="Data that only judge; without it, a fifth of the training data.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of splitting, drawing and training.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was ended.")] = False,
    query_column: Annotated[
        str | None, typer.Option(help="Of the training data; without it, query.", rich_help_panel="Tables")
    ] = None,
    passage_column: Annotated[
        str | None,
        typer.Option(
            help="With the text of the answering document; without it, passage.", rich_help_panel="Tables"
        ),
    ] = None,
    document_id_column: Annotated[
        str | None,
        typer.Option(help="With the id of that document; without it, document_id.", rich_help_panel="Tables"),
    ] = None,
    id_column: IdColumn = None,
    text_column: TextColumn = None,
    metadata_column: MetadataColumn = None,
    chunk_size: ChunkSize = None,
    chunk_overlap: ChunkOverlap = None,
    chunks: Chunks = True,
    encoding: Encoding = "utf-8",
    skip_bad: SkipBad = False,
    json_: Json = False,
) -> None:
    """Tune a bi-encoder, a cross-encoder and their blend on your data, and make a bundle of what proves to be best.

    Exits with 1 where nothing is better than the untuned bi-encoder alone; that is what the bundle holds then.

    Example: langchain-rerank tune corpus.jsonl train.jsonl --model my-model --output my-bundle

    From questions and answers: langchain-rerank tune faq.csv faq.csv --text-column answer --query-column question
    --passage-column answer --model my-model

    What index made: langchain-rerank tune --bundle my-bundle train.jsonl
    """
    from langchain_rerank_retriever.cli import tune as command
    from langchain_rerank_retriever.cli.documents.records import Columns
    from langchain_rerank_retriever.cli.files import Chunking, Files

    columns = Columns(id_column, tuple(text_column or ()), tuple(metadata_column or ()))
    chunking = Chunking(size=chunk_size, overlap=chunk_overlap, wanted=chunks)
    files = Files(paths=documents, columns=columns, encoding=encoding, skip_bad=skip_bad, chunking=chunking)
    labels = command.Labels(
        data=training_data,
        held_out=held_out,
        query_column=query_column,
        passage_column=passage_column,
        document_id_column=document_id_column,
        encoding=encoding,
    )
    how = command.Run(
        model=model,
        reranker=reranker,
        output=output,
        minutes=minutes,
        steps=steps,
        seed=seed,
        resume=resume,
    )
    if not command.run(files, bundle, labels, how, as_json=json_):
        raise typer.Exit(1)

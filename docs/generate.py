"""The documentation: pages of the docstrings as HTML, by pdoc, and the reference of the commands, by typer.

    python docs/generate.py html build/docs     write the pages
    python docs/generate.py commands            write docs/commands.md anew

Whatever cannot be resolved fails the build: an annotation, a link, a name of this package.
"""

import argparse
import inspect
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COMMANDS = HERE / "commands.md"

PACKAGE = "langchain_rerank_retriever"
#: What has a page: the package, and the modules of it that people import names from or read about.
PAGES = (
    PACKAGE,
    *(
        f"{PACKAGE}.{name}"
        for name in (
            "retriever",
            "recall",
            "blend",
            "store",
            "embeddings",
            "cross_encoder",
            "reranker",
            "runtime",
            "bundle",
            "training",
            "evaluation",
            "benchmark",
            "distributed",
            "testing",
            "protocols",
            "errors",
            "cli",
        )
    ),
)


def public_names() -> Iterator[tuple[str, str, Any]]:
    """Give the page, the name and the thing itself of all that is public."""
    for page in PAGES:
        module = import_module(page)
        for name in module.__all__:
            yield page, name, getattr(module, name)


def public_members(thing: type) -> Iterator[tuple[str, Any]]:
    """Give the public methods and properties of a class that this package defines, as they stand in the class."""
    for name in dir(thing):
        raw = inspect.getattr_static(thing, name)
        function = getattr(raw, "__func__", getattr(raw, "fget", getattr(raw, "func", raw)))
        if name.startswith("_") or not callable(function):
            continue
        if str(getattr(function, "__module__", "")).startswith(PACKAGE):
            yield name, raw


# -- pages -----------------------------------------------------------------------------------------------------


@cache
def _anchors() -> Mapping[str, str]:
    """Where a short name in a docstring leads: `FaissStore`, `FaissStore.verify` or `training.weak_pairs`."""
    places: dict[str, str] = {}
    for page, name, thing in public_names():
        if page == PACKAGE:
            continue
        short = page.removeprefix(f"{PACKAGE}.")
        for key in (name, f"{short}.{name}"):
            places[key] = f"{page}#{name}"
        for member, _ in public_members(thing) if inspect.isclass(thing) else ():
            places[f"{name}.{member}"] = f"{page}#{name}.{member}"
    return places


def _linkify() -> Any:
    """Have pdoc link the names of other pages as well, written as short as a reader of `help()` wants them."""
    from jinja2 import pass_context
    from markupsafe import Markup
    from pdoc.render_helpers import linkify, relative_link

    @pass_context
    def linked(context: Any, code: str, namespace: str = "", shorten: bool = True) -> Markup:
        def link(found: re.Match[str]) -> str:
            page, _, name = _anchors().get(found["name"], "").partition("#")
            if not page:
                return found[0]
            target = relative_link(context["module"].modulename, page)
            return f'<code><a href="{target}#{name}">{found["name"]}{found["call"]}</a></code>'

        html = linkify(context, code, namespace, shorten)
        return Markup(re.sub(r"<code>(?P<name>[A-Za-z_][\w.]*)(?P<call>(?:\(\))?)</code>", link, html))  # noqa: S704 - our own

    return linked


def write_pages(folder: Path) -> None:
    """Write the HTML pages, and fail where something in them cannot be resolved.

    Raises:
        UserWarning: If pdoc warns.
        ValueError: If a link leads nowhere, or a name of this package is none.
    """
    import pdoc
    from pdoc import render

    # Methods that a class inherits from a module without a page are shown with it, since they would be nowhere else.
    pdoc.doc.Class.own_members = property(  # type: ignore[assignment]
        lambda cls: [one for one in cls.members.values() if one.taken_from[0].startswith(PACKAGE)]
    )
    render.configure(docformat="google", template_directory=HERE / "templates", footer_text=PACKAGE)
    render.env.filters["linkify"] = _linkify()
    for page, name, thing in public_names():
        vars(import_module(page)).setdefault(name, thing)  # pdoc sees no name that loads on first use
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="pdoc")
        # Some modules are called like a name of their package, and would be taken for it.
        pdoc.pdoc(*PAGES, f"!(?!({'|'.join(map(re.escape, PAGES))})$)", output_directory=folder)
    if problems := list(broken_links(folder)):
        raise ValueError("\n".join(problems))


def broken_links(folder: Path) -> Iterator[str]:
    """Say which links between the pages lead nowhere, and which full names of the package are none."""
    folder = folder.resolve()
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.html"))}
    anchors = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in texts.items()}
    for path, text in texts.items():
        for target in re.findall(r'<a[^>]* href="([^"]+)"', text):
            if re.match(r"[a-z]+:|\$", target):  # elsewhere, or filled in by the search
                continue
            file, _, anchor = target.partition("#")
            page = (path.parent / file).resolve() if file else path.resolve()
            known = anchors.get(page)
            if known is None or (anchor and anchor not in known):
                yield f"{path.relative_to(folder)}: {target} leads nowhere"
        for name in re.findall(rf"<code>({PACKAGE}[\w.]*)</code>", text):
            yield f"{path.relative_to(folder)}: {name} is no public name"


# -- commands --------------------------------------------------------------------------------------------------


def command_group() -> Any:
    """Make the command line's own object, with `commands` by name and the `params` of each."""
    from typer.main import get_command

    from langchain_rerank_retriever.cli.app import app

    return get_command(app)


def commands() -> str:
    """Say in Markdown what the command line takes: its own documentation, then each command's help."""
    from typer.cli import get_docs_for_click

    cli = import_module(f"{PACKAGE}.cli")
    group = command_group()
    with group.make_context("langchain-rerank", [], resilient_parsing=True) as context:
        reference = get_docs_for_click(obj=group, ctx=context, name="langchain-rerank", title="Commands")
    title, _, rest = reference.partition("\n\n")
    return f"{title}\n\n{inspect.getdoc(cli)}\n\n{rest.rstrip()}\n"


def counts() -> str:
    """Say how much there is to document."""
    things = {id(thing): thing for _, _, thing in public_names()}
    members = sum(len(list(public_members(thing))) for thing in things.values() if inspect.isclass(thing))
    each = command_group().commands.values()
    options = sum(len(command.params) for command in each)
    return (
        f"{len(PAGES)} pages, {len(things)} public names, {members} methods and properties, {len(each)} commands "
        f"with {options} arguments and options"
    )


def main() -> None:
    """Write what is asked for."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(sys.modules[__name__]))
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("html").add_argument("folder", type=Path)
    what.add_parser("commands")
    asked = parser.parse_args()
    if asked.what == "html":
        write_pages(asked.folder)
        sys.stdout.write(f"{asked.folder}/index.html: {counts()}\n")
    else:
        COMMANDS.write_text(commands(), encoding="utf-8")


if __name__ == "__main__":
    main()

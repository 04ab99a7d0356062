"""The documentation is whole, agrees with the signatures, and its examples run and print what they say."""

import ast
import dataclasses
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Unpack, get_args, get_origin, get_type_hints

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from pydantic import BaseModel

import langchain_rerank_retriever as package
from langchain_rerank_retriever.testing import HashEmbeddings, ScriptedCrossEncoder
from tests.runtime import tiny

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^( *)```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The script that makes the documentation."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- what is public is explained -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Public:
    """Something with a docstring: where it is, what it is, and the class it is of."""

    name: str
    thing: Any
    owner: type | None = None

    @property
    def text(self) -> str:
        # Only what stands here: a method's or class's inherited docstring says nothing of what this package does.
        return inspect.cleandoc(getattr(self.thing, "__doc__", None) or "")


@pytest.fixture(scope="module")
def public(generate: ModuleType) -> dict[str, Public]:
    """All that is public, by short name: `tune`, `FaissStore`, `FaissStore.verify`."""
    found = {}
    for _, name, thing in generate.public_names():
        if not inspect.isclass(thing) and not inspect.isfunction(thing):
            continue
        found[name] = Public(name, thing)
        if inspect.isclass(thing):
            for member, raw in generate.public_members(thing):
                found[f"{name}.{member}"] = Public(f"{name}.{member}", raw, thing)
    return found


def test_every_page_says_when_to_use_what_it_holds(generate: ModuleType) -> None:
    problems = []
    for page in generate.PAGES:
        module = importlib.import_module(page)
        text = inspect.getdoc(module) or ""
        named = set(re.findall(r"`([\w.]+)", text))
        problems += [
            f"{page} does not name {one}" for one in module.__all__ if one not in named | {"__version__"}
        ]
        if not BLOCK.search(text) and page != f"{generate.PACKAGE}.cli":
            problems.append(f"{page} has no example")
        if page != generate.PACKAGE and not re.search(rf"`{generate.PACKAGE}\.\w+`", text):
            problems.append(f"{page} leads to no other page")
    assert not problems, "\n".join(problems)


def test_every_public_name_and_method_has_a_docstring(public: dict[str, Public]) -> None:
    assert [one.name for one in public.values() if len(one.text) < 10] == []


def test_the_arguments_described_are_those_of_the_signature(public: dict[str, Public]) -> None:
    problems = [problem for one in public.values() for problem in _wrong_arguments(one, public)]
    assert not problems, "\n".join(problems)


def _wrong_arguments(one: Public, public: dict[str, Public]) -> Iterator[str]:
    expected = _parameters(one)
    told = _told(one)
    if wrong := [name for name in told if name not in expected]:
        yield f"{one.name} describes {wrong}; it takes {expected}"
    if told != [name for name in expected if name in told]:
        yield f"{one.name} describes {told} in another order than {expected}"
    elsewhere = {name for other in _referred(one, public) for name in _told(other)}
    missing = [name for name in expected if name not in told and name not in elsewhere]
    if missing and (told or len(expected) > 2 or _is_record(one)):
        yield f"{one.name} does not describe {missing}"


def _is_record(one: Public) -> bool:
    """Whether the fields are all there is to know of it."""
    return dataclasses.is_dataclass(one.thing) or _is_model(one.thing)


def _is_model(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, BaseModel)


def _parameters(one: Public) -> list[str]:
    """What a caller can give: of a model of pydantic only the fields that this package adds to LangChain's."""
    if isinstance(one.thing, property) or not callable(getattr(one.thing, "__func__", one.thing)):
        return []
    if _is_model(one.thing):
        own = [kind for kind in one.thing.__mro__ if kind.__module__.startswith(package.__name__)]
        return [name for kind in own for name in kind.__annotations__ if name in one.thing.model_fields]
    if dataclasses.is_dataclass(one.thing):
        return [field.name for field in dataclasses.fields(one.thing) if not field.name.startswith("_")]
    if inspect.isclass(one.thing) and issubclass(one.thing, BaseException):
        return []  # These are caught, not made, by those who read this.
    if getattr(one.thing, "_is_protocol", False):
        return []
    function = getattr(one.thing, "__func__", one.thing)
    names = []
    for parameter in inspect.signature(function).parameters.values():
        if get_origin(parameter.annotation) is Unpack:
            names += get_type_hints(get_args(parameter.annotation)[0])
        elif parameter.name not in ("self", "cls"):
            names.append(parameter.name)
    return names


def _told(one: Public) -> list[str]:
    """The names in the section Args, or where the fields are described, Attributes."""
    from docstring_parser.google import parse

    section = "attribute" if _is_record(one) or isinstance(one.thing, type) else "param"
    params = parse(one.text).params
    kinds = {param.args[0] for param in params}
    wanted = section if section in kinds and "param" not in kinds else "param"
    names = [name for param in params if param.args[0] == wanted for name in param.arg_name.split(",")]
    expected = _parameters(one)
    # A class may have attributes that no argument sets.
    return [
        name.strip(" *") for name in names if wanted == "param" or name.strip() in expected or _is_record(one)
    ]


def _referred(one: Public, public: dict[str, Public]) -> Iterator[Public]:
    """What a docstring refers to, in backquotes: a method of the same class by its name alone."""
    for name in re.findall(r"`([\w.]+)`", one.text):
        of_owner = None if one.owner is None else public.get(f"{one.name.partition('.')[0]}.{name}")
        found = of_owner or public.get(name)
        if found is not None and found is not one:
            yield found


# -- commands --------------------------------------------------------------------------------------------------


def test_every_command_argument_and_option_has_help(generate: ModuleType) -> None:
    problems = []
    for name, command in generate.command_group().commands.items():
        if "Example: langchain-rerank" not in (command.help or ""):
            problems.append(f"{name} has no example")
        problems += [f"{name} {one.name} has no help" for one in command.params if not one.help]
    assert not problems, "\n".join(problems)


def test_the_reference_of_the_commands_is_what_they_say_now(generate: ModuleType) -> None:
    kept = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert kept == generate.commands(), "Write it anew: python docs/generate.py commands"


# -- pages -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_pages_are_built_and_their_links_lead_somewhere(generate: ModuleType, tmp_path: Path) -> None:
    generate.write_pages(tmp_path)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.html")}
    assert written == {f"{page.replace('.', '/')}.html" for page in generate.PAGES} | {"index.html"}
    recall = (tmp_path / package.__name__ / "recall.html").read_text(encoding="utf-8")
    assert '<a href="retriever.html#RerankRetriever">RerankRetriever</a>' in recall
    store = (tmp_path / package.__name__ / "store.html").read_text(encoding="utf-8")
    assert 'id="FaissStore.verify"' in store


def test_a_link_that_leads_nowhere_and_a_name_that_is_none_are_found(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.html").write_text(
        '<p id="here"><a href="b.html">b</a> <a href="#here">here</a> <a href="#there">there</a> '
        '<a href="https://example.org/">out</a> <code>langchain_rerank_retriever.nothing</code></p>',
        encoding="utf-8",
    )
    assert list(generate.broken_links(Path())) == [
        "a.html: b.html leads nowhere",
        "a.html: #there leads nowhere",
        "a.html: langchain_rerank_retriever.nothing is no public name",
    ]


# -- examples --------------------------------------------------------------------------------------------------


def _docstrings(pattern: re.Pattern[str]) -> dict[str, str]:
    """The docstrings of the package in which a pattern occurs, by the place where they stand."""
    found = {}
    for path in sorted((ROOT / package.__name__).rglob("*.py")):
        code = path.read_text(encoding="utf-8")
        if not pattern.search(code):
            continue  # Reading all files would take as long as all other tests here.
        module = ".".join(path.relative_to(ROOT / package.__name__).with_suffix("").parts)
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                if pattern.search(text):
                    found[f"{module}:{getattr(node, 'name', '')}".rstrip(":")] = text
    return found


EXAMPLES = {
    place: "\n".join(inspect.cleandoc(code) if indent else code for indent, code in BLOCK.findall(text))
    for place, text in _docstrings(BLOCK).items()
}


def test_every_example_is_in_a_block_that_is_run() -> None:
    assert _docstrings(re.compile(r"::\n\n|^ *>>> ", re.MULTILINE)) == {}


DOCUMENTS = [
    Document(
        id="returns",
        page_content="Parcels can be returned within 30 days for a full refund.",
        metadata={"topic": "money", "year": 2025, "source": "terms.md"},
    ),
    Document(
        id="delivery",
        page_content="Delivery takes two to four working days.",
        metadata={"topic": "parcels", "year": 2024, "source": "terms.md"},
    ),
    Document(
        id="payment",
        page_content="We take all credit and debit cards, and gift cards.",
        metadata={"topic": "money", "year": 2024, "source": "faq.md"},
    ),
]


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever a model is called, it is a small one of random weights."""
    folder = tmp_path_factory.mktemp("models")
    language_model = tiny.save_language_model(folder / "model", "bert")
    pairs = tiny.save_classifier(folder / "pairs", "bert")
    for module, found in (("embeddings", language_model), ("cross_encoder", pairs)):
        home = importlib.import_module(f"{package.__name__}.{module}")
        real = home.resolve_folder

        def resolve(name: Any, *, organization: str, found: Path = found, real: Any = real) -> Path:
            return real(name, organization=organization) if Path(name).exists() else found

        monkeypatch.setattr(home, "resolve_folder", resolve)


def _tuned(*arguments: Any, **settings: Any) -> Any:
    """Stand in for `tune`, which takes minutes: take its arguments, and make the bundle without training."""
    real = importlib.import_module(f"{package.__name__}.training.tuning").tune
    given = inspect.signature(real).bind(*arguments, **settings).arguments
    retriever = package.RerankRetriever.from_documents(given["documents"], embeddings=HashEmbeddings())
    retriever.save_local(given["output_dir"])
    return SimpleNamespace(report="every system, and the verdict", retriever=retriever)


@pytest.fixture
def namespace(models: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the examples take for granted, in an empty folder of their own."""
    # Measuring what the machine can do takes seconds.
    monkeypatch.setattr(f"{package.__name__}.benchmark.speed.matrix_peak", lambda *_: 1e12)
    monkeypatch.setattr(f"{package.__name__}.runtime.choosing.select.bfloat16_is_faster", lambda: False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(package, "tune", _tuned, raising=False)
    monkeypatch.setattr(importlib.import_module(f"{package.__name__}.training"), "tune", _tuned)
    Path("questions.jsonl").write_text('{"query": "refund?", "document_id": "returns"}\n', encoding="utf-8")
    return {
        "__name__": "example",
        "documents": [document.model_copy(deep=True) for document in DOCUMENTS],
        "queries": {"q1": "a full refund", "q2": "working days", "q3": "gift cards"},
        "qrels": {"q1": {"returns": 1}, "q2": {"delivery": 1}, "q3": {"payment": 1}},
        "question": "How long does delivery take?",
        "any_embeddings": HashEmbeddings(),
        "any_cross_encoder": ScriptedCrossEncoder(lambda query, passage: float(len(passage))),
        "chat_model": FakeListChatModel(responses=['{"queries": ["where is my parcel", "how long"]}']),
    }


@pytest.mark.parametrize("place", EXAMPLES)
def test_example_runs_and_prints_what_its_comments_say(
    place: str, namespace: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    code = EXAMPLES[place]
    promised = re.findall(r"^ *print\(.*\)  # (.+)", code, re.MULTILINE)
    exec(compile(code, place, "exec"), namespace)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in promised if line not in lines] == []

"""What the package never calls, by its source and by what happens while it works."""

import ast
import pickle
from pathlib import Path
from typing import Any, NoReturn

import pytest

import langchain_rerank_retriever
from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever.testing import HashEmbeddings

PACKAGE = Path(langchain_rerank_retriever.__file__).parent

#: Read data and run code for it.
MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "joblib",
    "cloudpickle",
    "marshal",
    "shelve",
    "jsonpickle",
    "runpy",
    "code",
}
BUILTINS = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
CALLS = {
    "torch.load",
    "torch.hub.load",
    "torch.jit.load",
    "numpy.load",
    "np.load",
    "pd.read_pickle",
    "pandas.read_pickle",
    "yaml.load",
    "yaml.unsafe_load",
    "os.system",
    "os.popen",
    "shutil.unpack_archive",
    "faiss.read_index",
    "faiss.deserialize_index",
    "tempfile.mktemp",
}
#: Arguments that switch a protection off.
SWITCHES = {"trust_remote_code", "allow_pickle", "shell", "allow_dangerous_deserialization"}


def unsafe(source: str) -> list[str]:
    """What a module imports or calls that none of ours may."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [node.module] if (node.module or "").split(".")[0] in MODULES else []
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found += [name] if name in CALLS or name in BUILTINS else []
            found += [
                f"{keyword.arg}={ast.unparse(keyword.value)}"
                for keyword in node.keywords
                if keyword.arg in SWITCHES and ast.unparse(keyword.value) not in ("False", "None")
            ]
        elif isinstance(node, ast.Assert):
            found.append("assert")
    return found


def test_the_source() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 200
    assert {
        str(path): unsafe(path.read_text(encoding="utf-8"))
        for path in files
        if unsafe(path.read_text(encoding="utf-8"))
    } == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x')",
        "eval('1')",
        "np.load('x', allow_pickle=True)",
        "AutoModel.from_pretrained('x', trust_remote_code=True)",
        "subprocess.run('x', shell=True)",
        "assert x",
    ],
)
def test_the_look_at_the_source_sees(source: str) -> None:
    assert unsafe(source)


@pytest.fixture
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever unpickles fails."""

    def never(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("something was unpickled")

    class Never(pickle.Unpickler):
        find_class = never
        load = never

    for name, stand_in in (("loads", never), ("load", never), ("Unpickler", Never), ("_Unpickler", Never)):
        monkeypatch.setattr(pickle, name, stand_in)


@pytest.mark.usefixtures("no_pickle")
def test_nothing_is_unpickled(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="unpickled"):
        pickle.loads(pickle.dumps(1))
    with FaissStore.from_texts(["a cat", "a dog"], HashEmbeddings(), path=tmp_path / "store") as store:
        store.save_local(tmp_path / "copy")
        RerankRetriever(store).save_local(tmp_path / "bundle")
    with FaissStore.load_local(tmp_path / "copy", HashEmbeddings()) as store:
        assert len(store.similarity_search("a cat", k=2)) == 2
        assert store.verify(deep=True).ok
    retriever = RerankRetriever.load_local(tmp_path / "bundle", embeddings=HashEmbeddings())
    assert len(retriever.invoke("a cat")) == 2
    retriever.recall.close()

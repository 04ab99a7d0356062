"""A script that saves bundles over each other, with fakes for the models."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from langchain_rerank_retriever import RerankRetriever
from langchain_rerank_retriever.bundle import read_manifest
from langchain_rerank_retriever.errors import FormatError
from langchain_rerank_retriever.files import make_folder
from tests.store.helpers import FastEmbeddings

from .killing_check import differences, without_warnings
from .killing_series import Content, Model, document, often
from .steps_scripts import age, names


class BundleScript:
    """Saves of new bundles over earlier ones, and of bundles that were opened and changed.

    Args:
        seed: For what is saved.
        prepared: Whether the folder is there, and empty.
    """

    ORDER = ("new", "new", "live", "new", "live", "live")

    def __init__(self, seed: int, *, prepared: bool = True) -> None:
        self._prepared = prepared
        rng = random.Random(seed)
        self._new: list[Model] = [
            {f"id-{rng.getrandbits(60):x}": document(rng) for _ in range(rng.randint(1, 12))}
            for _ in self.ORDER
        ]
        #: What may be found: the number that `k` is, and the documents; None for no bundle.
        self._states: list[tuple[int, Model] | None] = [None]
        for number, (kind, new) in enumerate(zip(self.ORDER, self._new), start=1):
            earlier = self._states[-1]
            kept = earlier[1] if kind == "live" and earlier is not None else {}
            self._states.append((number, {**kept, **new}))

    def play(self, root: Path, done: Callable[[], object]) -> None:
        folder = root / "bundle"
        if self._prepared:
            make_folder(folder)
        with often(quiet=3600.0):
            for number, (kind, new) in enumerate(zip(self.ORDER, self._new), start=1):
                documents = [
                    Document(id=name, page_content=text, metadata=data) for name, (text, data) in new.items()
                ]
                if kind == "new":
                    made = RerankRetriever.from_documents(documents, embeddings=FastEmbeddings())
                else:
                    made = RerankRetriever.load_local(folder, embeddings=FastEmbeddings())
                    made.add_documents(documents)
                with made.recall:
                    RerankRetriever(recall=made.recall, k=number).save_local(folder)
                done()

    def check(self, root: Path, done: int) -> None:
        allowed = self._states[done : done + 2]
        if done < len(self.ORDER) and self.ORDER[done] == "live":
            # Documents are in a bundle that is open as soon as they are added.
            allowed.append((done, self._states[done + 1][1]))
        shown = self._shown(root / "bundle", [state for state in allowed if state is not None])
        assert shown in allowed, f"{root / 'bundle'} shows none of the states that it may after {done} saves"

    @staticmethod
    def _shown(folder: Path, allowed: list[tuple[int, Model]]) -> Any:
        try:
            made = RerankRetriever.load_local(folder, embeddings=FastEmbeddings())
        except FormatError as error:
            if "is no bundle" in str(error):
                return None
            raise
        with without_warnings(), made.recall:
            problems = []
            for k, documents in allowed:
                problem = differences(made.recall, Content(documents)) if k == made.k else f"k is {made.k}"
                if not problem:
                    return k, documents
                problems.append(problem)
        return problems

    def tidy(self, root: Path) -> None:
        folder = root / "bundle"
        documents = [Document(id="extra", page_content="extra")]
        make_folder(folder)
        # A save takes a name that is free, and leaves what is young under the temporary name of another part: it goes
        # when a later save takes that name again. After a kill there are two parts at most, so a third save does.
        for _ in range(3):
            with RerankRetriever.from_documents(documents, embeddings=FastEmbeddings()).recall as store:
                RerankRetriever(recall=store).save_local(folder)
            part = read_manifest(folder)["recall"]["folder"]
            left = {entry.name for entry in folder.iterdir()} - {"bundle.json", part}
            assert all(name.startswith(".store") and ".tmp-" in name for name in left), left
            age(folder)
        assert len(names(folder)) == 2, names(folder)

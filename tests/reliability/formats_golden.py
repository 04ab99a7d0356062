"""Makes the folders of `golden`, which later versions must still open: python formats_golden.py FILE KIND.

It is run once, with the package as it was when the format was new (`git archive COMMIT`, then PYTHONPATH), so it uses
only what every version has, and nothing of these tests.

| golden | made with | what is old about it |
|---|---|---|
| store-0 | 6f75b36 | the first week: its table of settings does not say by which rules terms were made |
| store-1-old-terms | 1b697ee | terms made by the first rules; with a snapshot |
| store-1 | 12c83a6 | today's format for stores without a language; with a snapshot |
| store-2 | 12c83a6 | today's format for stores with a language |
| bundle-1 | e0cc748 | the first bundles: no precision, fewer settings |
| bundle-2 | 12c83a6 | a cascade of two models |
"""

import hashlib
import importlib
import sys
import tempfile
import zipfile
from pathlib import Path

COUNT, DIMENSION = 24, 8
TEXTS = [
    f"article {place} tells of houses, Häuser and 집{place % 4} number{place % 5}" for place in range(COUNT)
]
METADATA = [{"group": place % 3, "nested": {"tags": [f"t{place % 2}", "all"]}} for place in range(COUNT)]
IDS = [f"id-{place}" for place in range(COUNT)]
DELETED, REPLACED = ["id-3", "id-4"], "id-7"


class Vectors:
    """An embedder that every version takes and that never changes."""

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text):
        digest = hashlib.sha256(text.encode()).digest()
        return [float(byte) - 127.5 for byte in digest[:DIMENSION]]

    async def aembed_documents(self, texts):
        return self.embed_documents(texts)

    async def aembed_query(self, text):
        return self.embed_query(text)


def fill(store):
    store.add_texts(TEXTS, METADATA, ids=IDS)
    store.delete(DELETED)
    store.add_texts(["another text"], [{"group": 9}], ids=[REPLACED])


def documents():
    """What a golden store holds: text and metadata by id, in order."""
    kept = {name: (text, data) for name, text, data in zip(IDS, TEXTS, METADATA) if name not in DELETED}
    return kept | {REPLACED: ("another text", {"group": 9})}


def make_store(folder, **settings):
    package = "langchain_rerank_retriever.store"
    store_class = importlib.import_module(package).FaissStore
    for name, change in {"snapshots": {"MIN_ROWS": 1}, "upkeep": {"QUIET": 0.0}}.items():
        try:
            module = importlib.import_module(f"{package}.{name}")
        except ModuleNotFoundError:
            continue  # there were no snapshots yet
        for setting, value in change.items():
            setattr(module, setting, value)
    store = store_class(Vectors(), path=folder, **settings)
    fill(store)
    store.close()


def make_bundle(folder):
    import langchain_rerank_retriever as package

    store = package.FaissStore(Vectors())
    fill(store)
    package.RerankRetriever(recall=store, k=3, fetch_k=9, recall_mode="hybrid").save_local(folder)


def make_cascade(folder):
    import langchain_rerank_retriever as package

    store = package.FaissStore(Vectors())
    fill(store)
    with tempfile.TemporaryDirectory() as scratch:
        stages = []
        for seed, top_n in enumerate((6, 3)):
            model = package.CrossEncoderScorer(
                tiny_model(Path(scratch) / str(seed), seed), precision="float32"
            )
            stages.append(package.CrossEncoderReranker(model=model, top_n=top_n))
        package.RerankRetriever(recall=store, reranker=stages, k=3, fetch_k=9).save_local(folder)


def tiny_model(folder, seed):
    """A cross-encoder of some kilobytes."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from tests.runtime import tiny

    sizes = {"hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 8}
    torch.manual_seed(seed)
    config = tiny.config("bert", num_labels=1, **sizes)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tiny.tokenizer("bert").save_pretrained(folder)
    return folder


KINDS = {
    "store": make_store,
    "language": lambda folder: make_store(folder, lexical="german"),
    "bundle": make_bundle,
    "cascade": make_cascade,
}


def packed(folder, target):
    """A folder as a zip file without dates, so that it is the same whenever it is made of the same."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.writestr(
                    zipfile.ZipInfo(str(file.relative_to(folder))), file.read_bytes(), zipfile.ZIP_DEFLATED, 9
                )


def main():
    target, kind = Path(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as scratch:
        KINDS[kind](Path(scratch) / "made")
        packed(Path(scratch) / "made", target)


if __name__ == "__main__":
    main()

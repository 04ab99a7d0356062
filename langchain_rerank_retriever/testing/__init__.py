"""What others can test with: a conformance kit for sources of recall, and fakes that need no model.

The kit says whether a vector store or retriever of yours does what `RerankRetriever` relies on. Make a source that
holds `CORPUS`, and one that holds nothing, and let pytest collect the rest::

    import pytest
    from langchain_rerank_retriever.testing import CORPUS, HashEmbeddings, RecallConformance

    class TestMyStore(RecallConformance):
        @pytest.fixture
        def recall(self):
            store = MyStore(HashEmbeddings())
            store.add_documents(list(CORPUS))
            return store

        @pytest.fixture
        def empty_recall(self):
            return MyStore(HashEmbeddings())

        filter_arguments = {"search_kwargs": {"expr": "topic == 'bread'"}}

The fakes are deterministic and run offline: `HashEmbeddings` (words in common make texts similar),
`ScriptedCrossEncoder` (scores by a function of yours, and remembers what it was asked), `FaultyStore` (fails when told
to, like a server that goes away and comes back). pytest itself is not imported here.
"""

from langchain_rerank_retriever.testing.conformance import CORPUS, RecallConformance
from langchain_rerank_retriever.testing.fakes import FaultyStore, HashEmbeddings, ScriptedCrossEncoder

__all__ = ["CORPUS", "FaultyStore", "HashEmbeddings", "RecallConformance", "ScriptedCrossEncoder"]

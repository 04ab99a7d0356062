"""What others can test with: a conformance kit for sources of recall, and fakes that need no model.

The kit says whether a vector store or retriever of yours does what `RerankRetriever` relies on, see
`langchain_rerank_retriever.recall`. Inherit `RecallConformance`, make a source that holds `CORPUS` and one that holds
nothing, and let pytest collect the rest:

```python
import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_rerank_retriever.testing import CORPUS, HashEmbeddings, RecallConformance

class TestMyStore(RecallConformance):
    filter_arguments = {"filter": lambda document: document.metadata["topic"] == "bread"}

    @pytest.fixture
    def recall(self):
        return InMemoryVectorStore.from_documents(list(CORPUS), HashEmbeddings())

    @pytest.fixture
    def empty_recall(self):
        return InMemoryVectorStore(HashEmbeddings())
```

The fakes are deterministic and run offline: `HashEmbeddings` (words in common make texts similar),
`ScriptedCrossEncoder` (scores by a function of yours, and remembers what it was asked), `FaultyStore` (fails when
told to, like a server that goes away and comes back). pytest itself is not imported here.
"""

from langchain_rerank_retriever.testing.conformance import CORPUS, RecallConformance
from langchain_rerank_retriever.testing.fakes import FaultyStore, HashEmbeddings, ScriptedCrossEncoder

__all__ = ["CORPUS", "FaultyStore", "HashEmbeddings", "RecallConformance", "ScriptedCrossEncoder"]

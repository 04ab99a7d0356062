"""The user's own data to better models, with the proof.

`tune` is the one call. It holds out a part of the queries, trains the bi-encoder, mines hard negatives with it,
trains the cross-encoder, fits a blend of all scores, and serves of all systems, untuned ones among them, the simplest
that the held-out queries show to be best.

```python
from langchain_rerank_retriever import tune

result = tune(
    documents,  # LangChain Documents with ids
    "questions.jsonl",  # {"query": "...", "document_id": "..."} on each line
    embeddings="sentence-transformers/all-MiniLM-L6-v2",
    output_dir="my-bundle",
    minutes=10,
)
print(result.report)  # every system, and the verdict
found = result.retriever.invoke("a full refund")
```

**Data** may be a `datasets.Dataset`, a list of dicts or of Documents, JSONL, CSV, TSV or Parquet files, or a BEIR
folder. Columns: `query` with `document_id` or `passage`; and where you have them `relevance`, `negatives`, `group`
(what a split must not tear apart). Rows that cannot be used are named, never dropped.

**Without queries**, `weak_pairs` takes the documents' own titles and first sentences, and `generate_queries` has a
chat model write some:

```python
from langchain_core.documents import Document
from langchain_rerank_retriever.training import generate_queries, weak_pairs

titled = Document(id="7", page_content="Within 30 days of arrival.", metadata={"title": "Sending back"})
print(weak_pairs([titled]).rows)  # [{'query': 'Sending back', 'document_id': '7'}]
rows = generate_queries(documents[1:2], chat_model, per_document=2, path="written.jsonl").rows
print([row["query"] for row in rows])  # ['where is my parcel', 'how long']
```

**A language model** that is no embedding yet is first tuned on scored sentence pairs: the columns `sentence1`,
`sentence2` and `score`; held-out pairs judge it by Spearman's correlation.

**Budget.** `minutes` are for everything, from indexing to the report; `steps` or `epochs` are for those who want the
same models from the same seed.

**Killed?** The same call with `resume=True` goes on from the newest complete checkpoint. Ctrl-C while an encoder
trains ends its training early and keeps what it has learned.

**Promotion.** A richer system is taken only where its mean nDCG@10 over the held-out queries is higher and the
one-sided 95 % bound of a loss is below 0.01 (a tenth of the mean, where that is less). Where labels are no better
than chance, the report says so and an untuned system is served. `langchain-rerank tune` exits with 1 where nothing
was better.

**How it is trained** is set by a `Recipe`: losses, negatives, Matryoshka dimensions, distillation, adapters.

The names by purpose:

* training: `tune`, `TuningResult`, `Recipe`;
* the outcome: `TuningReport`, printable, and as JSON by `to_dict`;
* data: `data_card` and `DataCard` (what is doubtful in it), `weak_pairs` and `WeakPairs`, `generate_queries` and
  `GeneratedQueries`.

Judging any retriever in the same way: `langchain_rerank_retriever.evaluation`. Negatives for millions of queries:
`langchain_rerank_retriever.distributed`. What comes out: `langchain_rerank_retriever.bundle`,
`langchain_rerank_retriever.blend`.

For those who read on: `tuning` checks what it is given, `phases` are its steps in order (`scored` those for scored
sentence pairs), `run_folder` keeps what is done for a run that goes on after a kill. In a launch of several processes
`following` has the others train with the main one, over the channel of `processes`. The rooms behind them are `data`
(read, checked, split), `fit` (data to trained encoders) and `proof` (what held-out queries prove, and the decision).
"""

from langchain_rerank_retriever.training.data import (
    DataCard,
    GeneratedQueries,
    WeakPairs,
    data_card,
    generate_queries,
    weak_pairs,
)
from langchain_rerank_retriever.training.fit.recipe import Recipe
from langchain_rerank_retriever.training.phases import TuningResult
from langchain_rerank_retriever.training.proof.report import TuningReport
from langchain_rerank_retriever.training.tuning import tune

__all__ = [
    "DataCard",
    "GeneratedQueries",
    "Recipe",
    "TuningReport",
    "TuningResult",
    "WeakPairs",
    "data_card",
    "generate_queries",
    "tune",
    "weak_pairs",
]

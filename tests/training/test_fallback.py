"""Which untuned mode is served where labels cannot tell: what the documents say of themselves decides."""

import numpy as np
from langchain_core.documents import Document

from langchain_rerank_retriever.training.fallback import UNKNOWN, best_untuned
from tests.conftest import HashEmbeddings


class Ignorant(HashEmbeddings):
    """A bi-encoder that does not know the language: each text gets a vector of its own."""

    def _vector(self, text: str) -> list[float]:
        return self._word(text).tolist()


def articles(count: int = 60) -> list[Document]:
    """Each with a title whose words are in its text, among words of all."""
    rng = np.random.default_rng(0)
    words = [f"word{number}" for number in range(400)]
    found = []
    for number in range(count):
        own = [str(word) for word in rng.choice(words, 12, replace=False)]
        text = " ".join([*own, "and", "so", "on", *(str(word) for word in rng.choice(words, 6))])
        found.append(Document(id=str(number), page_content=f"{text}.", metadata={"title": " ".join(own[:4])}))
    return found


def test_an_encoder_that_knows_nothing_is_not_served() -> None:
    assert best_untuned(articles(), Ignorant(), seed=0) == "bm25"


def test_one_that_knows_is_part_of_it() -> None:
    assert best_untuned(articles(), HashEmbeddings(dimension=512), seed=0) == "hybrid"


def test_where_the_documents_say_nothing() -> None:
    """One sentence each: there is no query to be made of them."""
    documents = [Document(id=str(number), page_content=f"Text {number}.") for number in range(50)]
    assert best_untuned(documents, HashEmbeddings(), seed=0) == UNKNOWN == "hybrid"

"""Small random models, and a small corpus whose right answers are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

SUBJECTS = ("cat", "dog", "bee", "fish", "bird", "horse", "snake", "whale", "spider", "mouse")
PLACES = ("garden", "river", "kitchen", "forest", "desert", "market")


def small_bert(**kwargs: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        # Ten times the usual spread, so that texts differ clearly.
        initializer_range=0.2,
        **kwargs,
    )


@pytest.fixture(scope="session")
def language_model(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain language model."""
    import torch
    from transformers import AutoTokenizer, BertModel

    folder = tmp_path_factory.mktemp("language-model")
    torch.manual_seed(1)
    BertModel(small_bert()).save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm_folder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bi_encoder(language_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers model."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    folder = tmp_path_factory.mktemp("bi-encoder")
    modules = [Transformer(str(language_model)), Pooling(32, "mean")]
    model = SentenceTransformer(modules=modules, device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def cross_encoder(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("cross-encoder")
    torch.manual_seed(2)
    BertForSequenceClassification(small_bert(num_labels=1)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm_folder).save_pretrained(folder)
    return folder


def animals() -> list[Document]:
    """Sixty texts, each on one animal in one place."""
    return [
        Document(
            id=f"{subject}-{place}",
            page_content=f"The {subject} lives in the {place}. It eats number {number} and sleeps.",
            metadata={"subject": subject, "nested": {"place": place}},
        )
        for number, (subject, place) in enumerate((one, other) for one in SUBJECTS for other in PLACES)
    ]


def about_animals() -> list[dict[str, Any]]:
    """A hundred and thirty queries; words of the answer are in each."""
    forms = ("where does a {} go in the {}", "{} near the {}", "is there a {} in the {} today")
    pairs = [(form, one, other) for form in forms for one in SUBJECTS for other in PLACES]
    chosen = [pairs[place] for place in np.random.default_rng(0).permutation(len(pairs))[:130]]
    return [
        {"query": form.format(one, other), "document_id": f"{one}-{other}"} for form, one, other in chosen
    ]


@pytest.fixture
def documents() -> list[Document]:
    return animals()


@pytest.fixture
def questions() -> list[dict[str, Any]]:
    return about_animals()

"""A cross-encoder for measuring speed where no trained one is at hand."""

from pathlib import Path

from langchain_rerank_retriever.runtime.models.quiet import quiet


def save_random_cross_encoder(language_model: Path, target: Path, *, seed: int = 0) -> Path:
    """Put a head of random weights on a language model, and save it as a cross-encoder.

    Its scores mean nothing, and it is as fast as one that was trained.

    Args:
        language_model: Folder of a transformers model.
        target: A new folder.
        seed: Of the head.

    Returns:
        The new folder.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(
            language_model, num_labels=1, local_files_only=True, trust_remote_code=False
        )
        model.save_pretrained(target)
        AutoTokenizer.from_pretrained(language_model, local_files_only=True).save_pretrained(target)
    return target

"""Operations as torch counts them while a model runs."""

from pathlib import Path


def counted(folder: Path, inputs: list[str] | list[tuple[str, str]]) -> int:
    """What torch counts in one real forward pass of a real cross-encoder, head and all."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    # Fused attention is one operation that the counter does not know.
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    batch = AutoTokenizer.from_pretrained(folder)(inputs, return_tensors="pt", padding=True)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**batch)
    return counter.get_total_flops()

"""Small random models of many architectures, each with a small fast tokenizer, in folders as users have them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_WORDS = (
    "a and animal barks bird cat chair dog door eats fish garden house in is it jumps kind large long man map "
    "morning music number of on one paper people plays question red river road runs sea sits sleeps small stone "
    "sun table ten the three tree two under water what where which white window woman word"
)
WORDS = _WORDS.split()

#: Special tokens in the order of their numbers: padding has another one in RoBERTa's family, and positions there
#: begin behind it.
BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_SPECIAL = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")

#: Longest input of every model here, and the positions that RoBERTa's family needs for it.
LENGTH, POSITIONS = 96, 98

ARCHITECTURES = ("bert", "roberta", "xlm-roberta", "mpnet", "modernbert", "distilbert")
WITH_PADDING_OF_ROBERTA = ("roberta", "xlm-roberta", "mpnet")


def tokenizer(architecture: str) -> Any:
    """A word a token; pairs have token types where the model reads them."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ROBERTA_SPECIAL if architecture in WITH_PADDING_OF_ROBERTA else BERT_SPECIAL
    vocabulary = {word: place for place, word in enumerate([*special, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    names = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=LENGTH,
        model_input_names=[*names, "token_type_ids"] if architecture == "bert" else names,
        **{f"{name[1:-1].lower()}_token": name for name in special},
    )


def config(architecture: str, **settings: Any) -> Any:
    """Two layers of 32; weights ten times as spread as usual, so that different texts differ clearly."""
    from transformers import AutoConfig

    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "initializer_range": 0.2,
    }
    if architecture == "distilbert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "initializer_range": 0.2}
    if architecture == "modernbert":
        # A window of four tokens on each side in the second layer; the first reads everything.
        sizes |= {"local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 2, "sep_token_id": 3}
        sizes |= {"initializer_cutoff_factor": 2.0, "bos_token_id": 2, "eos_token_id": 3}
    padding = 1 if architecture in WITH_PADDING_OF_ROBERTA else 0
    if architecture != "modernbert" and padding:
        sizes["max_position_embeddings"] = POSITIONS
    else:
        sizes["max_position_embeddings"] = LENGTH
    vocabulary = len(BERT_SPECIAL) + len(WORDS)
    return AutoConfig.for_model(
        architecture, vocab_size=vocabulary, pad_token_id=padding, **{**sizes, **settings}
    )


def save_language_model(folder: Path, architecture: str, *, seed: int = 0, **settings: Any) -> Path:
    """Save a language model without a head."""
    import torch
    from transformers import AutoModel

    torch.manual_seed(seed)
    AutoModel.from_config(config(architecture, **settings)).save_pretrained(folder)
    tokenizer(architecture).save_pretrained(folder)
    return folder


def save_classifier(folder: Path, architecture: str, *, labels: int = 1, seed: int = 0) -> Path:
    """Save a sequence classifier, which is a cross-encoder."""
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    made = AutoModelForSequenceClassification.from_config(config(architecture, num_labels=labels))
    made.save_pretrained(folder)
    tokenizer(architecture).save_pretrained(folder)
    return folder


def save_modules(folder: Path, modules: Sequence[Any], **settings: Any) -> Path:
    """Save a bi-encoder of sentence-transformers' modules."""
    from sentence_transformers import SentenceTransformer

    made = SentenceTransformer(modules=list(modules), device="cpu", **settings)
    made.save_pretrained(str(folder), create_model_card=False)
    return folder

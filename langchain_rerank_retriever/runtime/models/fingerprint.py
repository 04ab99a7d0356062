"""The identity of a loaded model: equal for equal behaviour, wherever its files lie and whatever runs it."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_rerank_retriever.runtime.models.quiet import quiet
from langchain_rerank_retriever.runtime.models.trying import tried

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

#: What the weights do not say about a language model. A short list, because a library that adds a key to its
#: configurations with its next version must not change every fingerprint.
CONFIG_KEYS = (
    "model_type",
    "hidden_act",
    "hidden_activation",
    "num_attention_heads",
    "num_hidden_layers",
    "layer_norm_eps",
    "is_causal",
)

#: Shows lower-casing, accents, scripts, digits and white space; a tokenizer's file format may change between
#: versions of its library, what it does to these must not.
PROBE_TEXTS = (
    "Hello, World! The quick brown fox jumps over 13 lazy dogs.",
    "Crème BRÛLÉE — naïve façade, Straße, İstanbul",
    "나만의 데이터에 맞는 임베딩 모델을 만들기",
    "北京 東京 ｆｕｌｌ　ｗｉｄｔｈ",
    "  two  spaces\tand\na line  ",
    "https://example.org/a?b=c&d=1_000 foo_bar.baz()",
)


def fingerprint(model: "BaseModel", settings: Mapping[str, Any]) -> str:
    """Hash a float32 model on the CPU, before it is cast.

    Args:
        model: Its modules' classes, settings and weights count, and what its tokenizer does.
        settings: What else decides the values: prompts, lengths, dimension. JSON.

    Returns:
        SHA-256 as 64 hexadecimal digits.

    Raises:
        ModelLoadError: Its tokenizer fails at a plain text.
    """
    digest = hashlib.sha256()
    description = {
        "settings": dict(settings),
        "modules": [_describe(module) for module in model.children()],
        "tokenizer": _tokenizer(model),
    }
    digest.update(json.dumps(description, sort_keys=True, ensure_ascii=False).encode())
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().float().contiguous() if tensor.is_floating_point() else tensor.cpu()
        digest.update(f"{name}{tuple(values.shape)}".encode())
        digest.update(values.numpy().data)
    return digest.hexdigest()


def _describe(module: Any) -> dict[str, Any]:
    config = getattr(getattr(module, "model", None), "config", None)
    if config is not None:
        known = {key: getattr(config, key, None) for key in CONFIG_KEYS}
        return {"class": type(module).__name__, **known}
    read = getattr(module, "get_config_dict", None)
    settings = read() if callable(read) else {}
    return {"class": type(module).__name__, "config": json.loads(json.dumps(settings, default=str))}


def _tokenizer(model: "BaseModel") -> dict[str, Any]:
    tokenizer = getattr(model[0], "tokenizer", None)
    if tokenizer is None or not hasattr(tokenizer, "get_vocab"):
        return {}
    vocabulary = hashlib.sha256()
    for word, number in sorted(tokenizer.get_vocab().items()):
        vocabulary.update(f"{word}\0{number}\n".encode())
    known: dict[str, Any] = {
        "vocabulary": vocabulary.hexdigest(),
        "probes": [_ids(tokenizer, text) for text in PROBE_TEXTS],
    }
    if _keeps_token_types_back(model[0], tokenizer):
        # Not told otherwise, so that fingerprints stay what they were.
        known["token_types"] = False
    return known


def _keeps_token_types_back(module: Any, tokenizer: Any) -> bool:
    """Whether the model would tell the texts of a pair apart, the tokenizer does, and the one does not hear of it."""
    config = getattr(getattr(module, "model", None), "config", None)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if (getattr(config, "type_vocab_size", None) or 0) < 2 or backend is None:
        return False
    return "token_type_ids" not in tokenizer.model_input_names and any(backend.encode("a", "b").type_ids)


def _ids(tokenizer: Any, text: str) -> list[int]:
    # It would warn that texts which are longer than the model reads lead to errors; here they go to no model.
    with quiet(), tried(f"The model's tokenizer fails at the text {text!r}", "Save the model again."):
        numbers = tokenizer(text)["input_ids"] if callable(tokenizer) else tokenizer.encode(text).ids
    return [int(number) for number in numbers]

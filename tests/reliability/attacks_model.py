"""Attacks by a model's folder: weights, configurations, tokenizers, modules."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .attacks import Attack, Ends, bomb, deep, edit, evil, fifo, link, outside, put

_BI, _CROSS = "bi_encoder", "cross_encoder"


def _config(model: str, **values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / model / "config.json", lambda data: data.update(values))


def _with_code(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """The attack, and code for it to call."""

    def both(folder: Path) -> None:
        for name in (_BI, _CROSS):
            put(folder / name / "evil.py", evil(folder))
        make(folder)

    return both


def _module(place: int, **values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / _BI / "modules.json", lambda data: data[place].update(values))


def _another_module(kind: str, config: dict[str, Any], name: str = "config.json") -> Callable[[Path], None]:
    """One module more, with a configuration and weights that are a pickle."""

    def make(folder: Path) -> None:
        entry = {"idx": 9, "name": "9", "path": "9_Evil", "type": f"sentence_transformers.{kind}"}
        edit(folder / _BI / "modules.json", lambda data: data.append(entry))
        put(folder / _BI / "9_Evil" / name, json.dumps(config))
        put(folder / _BI / "9_Evil" / "part" / "pytorch_model.bin", bomb(folder))

    return make


def _pickled_weights(*names: str) -> Callable[[Path], None]:
    """Pickles beside the weights."""

    def make(folder: Path) -> None:
        for model in (_BI, _CROSS):
            for name in names:
                put(folder / model / name, bomb(folder))

    return make


def _only_pickled(name: str, content: Callable[[Path], bytes] = bomb) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / _BI / "model.safetensors").unlink()
        put(folder / _BI / name, content(folder))

    return make


def _zip(folder: Path) -> bytes:
    path = folder.parent / "weights.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bomb(folder))
        archive.writestr("archive/data/0", bytes(64 * 1024 * 1024))
    return path.read_bytes()


def _safetensors(header: bytes, *, length: int | None = None) -> Callable[[Path], None]:
    """A file of weights with this header, and room for a tensor of four numbers."""
    content = (len(header) if length is None else length).to_bytes(8, "little") + header + bytes(16)
    return lambda folder: put(folder / _BI / "model.safetensors", content)


def _tensor(**values: Any) -> bytes:
    tensor = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **values}
    return json.dumps({"embeddings.word_embeddings.weight": tensor}).encode()


def _shards(target: str) -> Callable[[Path], None]:
    """Weights in parts, one of which lies elsewhere."""

    def make(folder: Path) -> None:
        model = folder / _BI
        (model / "model.safetensors").rename(outside(folder) / "model.safetensors")
        put(outside(folder) / "weights.bin", bomb(folder))
        put(model / "weights.bin", bomb(folder))
        put(model / "part.safetensors", (outside(folder) / "model.safetensors").read_bytes())
        index = {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": target}}
        put(model / "model.safetensors.index.json", json.dumps(index))

    return make


def _adapter(folder: Path) -> None:
    """Weights that are to be put on a model elsewhere."""
    base = outside(folder) / "base"
    shutil.copytree(folder / _BI, base)
    put(base / "pytorch_model.bin", bomb(folder))
    (base / "model.safetensors").unlink()
    (folder / _BI / "model.safetensors").rename(folder / _BI / "adapter_model.safetensors")
    adapter = {"peft_type": "LORA", "base_model_name_or_path": str(base), "r": 1, "target_modules": ["query"]}
    put(folder / _BI / "adapter_config.json", json.dumps(adapter))


def _linked_weights(folder: Path) -> None:
    weights = folder / _BI / "model.safetensors"
    weights.rename(outside(folder) / "model.safetensors")
    link(weights, outside(folder) / "model.safetensors")


def _linked_module(folder: Path) -> None:
    shutil.move(folder / _BI / "1_Pooling", outside(folder) / "1_Pooling")
    link(folder / _BI / "1_Pooling", outside(folder) / "1_Pooling")


def _tokenizer(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda folder: edit(folder / _BI / "tokenizer.json", change)


def _tokenizer_config(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / _BI / "tokenizer_config.json", lambda data: data.update(values))


def _settings(name: str, **values: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        path = folder / _BI / name
        put(path, json.dumps((json.loads(path.read_text()) if path.exists() else {}) | values))

    return make


def _attacks(ends: Ends, makes: dict[str, Callable[[Path], object]]) -> list[Attack]:
    return [Attack(name, make, "model", ends) for name, make in makes.items()]


_AUTO = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForSequenceClassification"), "evil.Evil")

PICKLES = [
    *_attacks(
        "same",
        {
            "pickled weights beside the safe ones": _pickled_weights("pytorch_model.bin"),
            "pickles of a training run": _pickled_weights(
                "optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state.pth", "scaler.pt"
            ),
            "pickles by the names of other libraries": _pickled_weights(
                "tf_model.h5", "flax_model.msgpack", "model.ckpt.index", "tokenizer.pkl", "vocab.pickle"
            ),
        },
    ),
    *_attacks(
        "refused",
        {
            "only pickled weights": _only_pickled("pytorch_model.bin"),
            "pickled weights in a zip bomb": _only_pickled("pytorch_model.bin", _zip),
            "pickled weights by a safe name": _only_pickled("model.safetensors"),
            "a zip bomb by a safe name": _only_pickled("model.safetensors", _zip),
            "pickled weights of a module": lambda folder: put(
                folder / _BI / "1_Pooling" / "pytorch_model.bin", bomb(folder)
            ),
            "pickled weights of a part of a module": _another_module(
                "base.modules.Router",
                {
                    "types": {"part": "sentence_transformers.base.modules.Dense"},
                    "structure": {"query": ["part"], "document": ["part"]},
                    "parameters": {},
                },
                "router_config.json",
            ),
            "parts of weights elsewhere": _shards("../../outside/model.safetensors"),
            "parts of weights that are a pickle": _shards("weights.bin"),
            "parts of weights that are a pickle elsewhere": _shards("../../outside/weights.bin"),
            "an adapter on a model elsewhere": _adapter,
        },
    ),
]

CODE = [
    *_attacks(
        "either",
        {
            "code named by a bi-encoder's configuration": _with_code(_config(_BI, auto_map=_AUTO)),
            "code named by a cross-encoder's configuration": _with_code(_config(_CROSS, auto_map=_AUTO)),
            "an unknown architecture with code": _with_code(_config(_BI, auto_map=_AUTO, model_type="evil")),
            "trust asked for by the configuration": _with_code(
                _config(_BI, auto_map=_AUTO, trust_remote_code=True)
            ),
            "trust asked for by the module's settings": _with_code(
                _settings(
                    "sentence_bert_config.json",
                    **{
                        name: {"trust_remote_code": True, "auto_map": _AUTO}
                        for name in ("model_args", "config_args", "tokenizer_args", "model_kwargs")
                    },
                )
            ),
            "code named by the tokenizer's configuration": _with_code(
                _tokenizer_config(
                    auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, tokenizer_class="Evil"
                )
            ),
            "attention by a kernel of a hub": _config(_BI, _attn_implementation="evil/kernel:attention"),
            "attention by a kernel of a hub, by another name": _config(
                _BI, attn_implementation="evil/kernel", _attn_implementation_internal="evil/kernel"
            ),
            "an activation by the name of a function": _config(_BI, hidden_act="os.system"),
            "an activation of pairs that ends the process": _config(
                _CROSS, sentence_transformers={"activation_fn": "torch.os.abort"}
            ),
            "an activation of pairs by an older name": _config(
                _CROSS, sbert_ce_default_activation_function="torch.os.abort"
            ),
            "quantisation by a library": _config(
                _BI, quantization_config={"quant_method": "gptq", "bits": 4}
            ),
            "quantisation that is unknown": _config(_BI, quantization_config={"quant_method": "evil"}),
            "a backbone from a hub": _config(
                _BI, use_timm_backbone=True, backbone="evil", use_pretrained_backbone=True
            ),
            "weights named by the configuration": _config(
                _BI, transformers_weights="../../outside/weights.bin"
            ),
            "a template that looks for classes": lambda folder: put(
                folder / _BI / "chat_template.jinja", "{{ ''.__class__.__mro__[1].__subclasses__() }}"
            ),
        },
    ),
    *_attacks(
        "refused",
        {
            "a module of the folder": _with_code(_module(1, type="evil.Evil")),
            "a module that is a function": _module(1, type="os.system"),
            "a module that starts processes": _module(1, type="subprocess.Popen"),
            "a module that is installed": _module(1, type="antigravity.Evil"),
            "a module that is a function of the library": _module(
                1, type="sentence_transformers.util.misc.import_from_string"
            ),
            "a module by a strange name": _with_code(_module(1, type="sentence_transformers.../../evil")),
            "a module that is no text": _module(1, type=["os"]),
            "a module elsewhere": _module(1, path="../../outside"),
            "a module at an absolute path": _module(1, path="/etc"),
            "no list of modules": lambda folder: put(folder / _BI / "modules.json", '{"0": "x"}'),
            "a nested list of modules": lambda folder: put(folder / _BI / "modules.json", deep()),
            "an activation of a module that is a function": _another_module(
                "base.modules.Dense",
                {
                    "in_features": 32,
                    "out_features": 32,
                    "bias": False,
                    "activation_function": "torch.os.abort",
                },
            ),
            "an activation of a module from a hub": _another_module(
                "base.modules.Dense",
                {
                    "in_features": 32,
                    "out_features": 32,
                    "bias": False,
                    "activation_function": "torch.hub.load",
                },
            ),
            "a tokenizer of a module that is a class": _another_module(
                "sentence_transformer.modules.WordEmbeddings",
                {"tokenizer_class": "subprocess.Popen", "update_embeddings": False, "max_seq_length": 8},
                "wordembedding_config.json",
            ),
        },
    ),
]

LINKS = [
    Attack("a module behind a link", _linked_module, "load", "refused"),
    Attack("weights behind a link, in a bundle", _linked_weights, "load", "refused"),
]

SHAPES = [
    *_attacks(
        "refused",
        {
            "weights with a header of many bytes": _safetensors(b"{}", length=2**63),
            "weights with a header of 90 MB": _safetensors(b" " * 90_000_000),
            "weights outside the file": _safetensors(_tensor(data_offsets=[0, 2**40])),
            "weights that end before they begin": _safetensors(_tensor(data_offsets=[16, 0])),
            "weights of a shape that overflows": _safetensors(_tensor(shape=[2**33, 2**33])),
            "weights of an unknown type": _safetensors(_tensor(dtype="PICKLE")),
            "nested weights": _safetensors(deep().encode()),
            "a nested configuration": lambda folder: put(folder / _BI / "config.json", deep()),
            "a configuration that is a list": lambda folder: put(folder / _BI / "config.json", "[]"),
            "very many layers": _config(_BI, num_hidden_layers=10**9),
            "very wide layers": _config(_BI, hidden_size=10**12, intermediate_size=10**12),
            "a very large vocabulary": _config(_BI, vocab_size=10**12),
            "sizes below zero": _config(_BI, hidden_size=-32),
            "sizes that are texts": _config(_BI, num_attention_heads="evil"),
            "a nested tokenizer": lambda folder: put(folder / _BI / "tokenizer.json", deep()),
            "an empty tokenizer": lambda folder: put(folder / _BI / "tokenizer.json", "{}"),
            "a tokenizer of numbers that are too large": _tokenizer(
                lambda data: data["model"]["vocab"].update({"cat": 2**31})
            ),
            "a tokenizer of an unknown kind": _tokenizer(lambda data: data["model"].update(type="Evil")),
            "a pipe as the weights": lambda folder: fifo(folder / _BI / "model.safetensors"),
            "a pipe as the configuration": lambda folder: fifo(folder / _BI / "config.json"),
            "a pipe as the tokenizer": lambda folder: fifo(folder / _BI / "tokenizer.json"),
            "a pipe as the list of modules": lambda folder: fifo(folder / _BI / "modules.json"),
            "a pipe as the settings": lambda folder: fifo(folder / _BI / "config_sentence_transformers.json"),
            "a pipe as a module's configuration": lambda folder: fifo(
                folder / _BI / "1_Pooling" / "config.json"
            ),
            "a device as the configuration": lambda folder: link(folder / _BI / "config.json", "/dev/zero"),
            "a device as the weights": lambda folder: link(folder / _BI / "model.safetensors", "/dev/zero"),
        },
    ),
    *_attacks(
        "either",
        {
            "weights behind a link": _linked_weights,
            "a tokenizer elsewhere": _settings(
                "sentence_bert_config.json",
                tokenizer_name_or_path="../../outside",
                processor_name_or_path="evil/x",
            ),
            "a vocabulary elsewhere": _tokenizer_config(
                tokenizer_file="../../outside/precious.txt", vocab_file="../../outside/precious.txt"
            ),
            "prompts that are no texts": _settings(
                "config_sentence_transformers.json", prompts={"query": [1]}
            ),
            "settings of other types": _settings(
                "config_sentence_transformers.json",
                default_prompt_name={"x": 1},
                similarity_fn_name="os.system",
                truncate_dim=-5,
            ),
            "an unknown kind of model": _settings(
                "config_sentence_transformers.json", model_type="os.system"
            ),
        },
    ),
]

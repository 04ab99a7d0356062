"""What may lie in a model's folder, looked at before a library opens anything in it.

The libraries read what configurations name: weights that are pickles, files of other folders, code of a hub. None of
that is needed for what save() and save_pretrained() write, so all of it is refused here.
"""

import json
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from langchain_rerank_retriever.errors import ModelLoadError

#: Configurations are small; weights are not among them. A tokenizer's file may have some 100 MB.
CONFIG_BYTES = 16 * 1024 * 1024
#: In a configuration, these name the code that computes a layer; one with a slash is fetched from a hub and run.
_IMPLEMENTATION = "_implementation"
#: Each layer is an object that is made before the weights are looked at; no model comes near so many.
MOST_LAYERS = 1_000
_LAYERS = ("layers", "n_layer", "experts")
#: What a tokenizer may be asked for, by transformers' names. One that is misspelt is left out without a word: without
#: the mask, what fills a batch up would count as text.
_INPUTS = {"input_ids", "attention_mask", "token_type_ids", "position_ids", "special_tokens_mask", "bbox"}


def check_folder(folder: Path, name: str) -> None:
    """Refuse a folder that has no safe weights, or that leads to anything but its own files.

    Args:
        folder: As it lies on the disk; its files may be links to files, as in the hub's cache.
        name: By which the user knows it, for the messages.

    Raises:
        ModelLoadError: Saying what is wrong, and what to do.
    """
    files = [path for path in folder.rglob("*") if _is_plain(path, name)]
    _check_pickles(folder, files, name)
    if not any(path.suffix == ".safetensors" for path in files):
        inside = sorted(entry.name for entry in folder.iterdir())
        content = f"it holds {', '.join(inside[:8])}" if inside else "it is empty"
        raise ModelLoadError(
            f"The folder '{name}' has no model weights: expected model.safetensors, but {content}. "
            "Give the folder that save() or save_pretrained() wrote."
        )
    for path in files:
        if path.name == "adapter_config.json":
            raise ModelLoadError(
                f"'{name}' holds an adapter ({path.relative_to(folder)}), whose model lies elsewhere. Put it on its "
                "model with peft's merge_and_unload(), and save that with save_pretrained()."
            )
        if path.name.endswith(".index.json"):
            _check_shards(path, name)
        if path.name == "modules.json":
            _check_modules(path, name)
        if path.name == "config.json":
            _check_config(path, name)
        if path.name == "config_sentence_transformers.json":
            _check_prompts(path, name)
        if path.name == "tokenizer_config.json":
            _check_inputs(path, name)


def _is_plain(path: Path, name: str) -> bool:
    """Whether it is a file; what is neither that nor a folder would be read for ever."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False  # A link to nothing.
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ModelLoadError(
            f"'{name}': {path.name} is neither a file nor a folder but a pipe or a device. Remove it."
        )
    return stat.S_ISREG(mode)


def _check_pickles(folder: Path, files: list[Path], name: str) -> None:
    """Refuse pickled weights where there are no safe ones, in which case a library would take them."""
    safe = {path.parent for path in files if path.suffix == ".safetensors"}
    for path in sorted(files):
        if path.match("pytorch_model*.bin") and path.parent not in safe:
            raise ModelLoadError(
                f"'{name}' has its weights in '{path.relative_to(folder)}', a pickle file, which can "
                "run code. Expected model.safetensors: load it once with transformers where you trust it, "
                "and save it again with save_pretrained()."
            )


def _check_shards(path: Path, name: str) -> None:
    """Weights in several files must all be safe ones of this folder."""
    content = _read(path, name)
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict):
        return  # Of something else, such as a tokenizer.
    # The list of pickled weights is never read where there are safe ones, and they are there.
    expected = ".bin" if path.name.startswith("pytorch_model") else ".safetensors"
    for shard in shards.values():
        if not isinstance(shard, str) or PurePosixPath(shard).name != shard or not shard.endswith(expected):
            raise ModelLoadError(
                f"'{name}': {path.name} names the weights {shard!r}; expected safetensors files of the same folder. "
                "Save the model again."
            )


def _check_modules(path: Path, name: str) -> None:
    modules = _read(path, name)
    try:
        folders = [PurePosixPath(module["path"]) for module in modules]
    except (TypeError, LookupError) as error:
        raise ModelLoadError(
            f"'{name}': modules.json cannot be read ({error}). Save the model again."
        ) from error
    for module in folders:
        if module.is_absolute() or ".." in module.parts:
            raise ModelLoadError(f"'{name}': modules.json leads out of the folder, to '{module}'.")


def _check_config(path: Path, name: str) -> None:
    config = _read(path, name)
    for key, value in _settings(config):
        if _IMPLEMENTATION in key and isinstance(value, str) and "/" in value:
            raise ModelLoadError(
                f"'{name}': {path.name} asks for {key}={value!r}, code that would be fetched from a hub and run. "
                "Remove that entry."
            )
        if isinstance(value, int) and value > MOST_LAYERS and any(word in key for word in _LAYERS):
            raise ModelLoadError(
                f"'{name}': {path.name} says {key}={value:,}; no model has more than {MOST_LAYERS:,}."
            )


def _check_prompts(path: Path, name: str) -> None:
    """What is put before texts must be text; the library would fail at the first of them."""
    config = _read(path, name)
    prompts = config.get("prompts") if isinstance(config, dict) else None
    if prompts is None:
        return
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise ModelLoadError(
            f"'{name}': {path.name} has prompts={prompts!r}; expected texts by name, such as "
            '{"query": "query: "}. Correct it, or save the model again.'
        )


def _check_inputs(path: Path, name: str) -> None:
    config = _read(path, name)
    inputs = config.get("model_input_names") if isinstance(config, dict) else None
    if inputs is None:
        return
    if not isinstance(inputs, list) or not all(isinstance(one, str) and one in _INPUTS for one in inputs):
        raise ModelLoadError(
            f"'{name}': {path.name} has model_input_names={inputs!r}; expected some of {sorted(_INPUTS)}. "
            "Correct it, or save the model again."
        )


def _settings(config: Any) -> Iterator[tuple[str, Any]]:
    """All keys with their values, of parts of the model as well."""
    if isinstance(config, dict):
        yield from config.items()
        for value in config.values():
            yield from _settings(value)


def _read(path: Path, name: str) -> Any:
    try:
        if path.stat().st_size > CONFIG_BYTES:
            raise ModelLoadError(
                f"'{name}': {path.name} has more than {CONFIG_BYTES:,} bytes; that is no configuration."
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, ModelLoadError):
            raise
        raise ModelLoadError(
            f"'{name}': {path.name} cannot be read ({type(error).__name__}: {error}). Save the model again."
        ) from error

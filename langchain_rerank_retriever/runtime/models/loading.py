"""From a model name to a folder with safetensors weights, and from there to sentence-transformers' object."""

import logging
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_rerank_retriever.errors import InvalidArgumentError, ModelLoadError
from langchain_rerank_retriever.runtime.models.folder import check_folder
from langchain_rerank_retriever.runtime.models.quiet import quiet

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

logger = logging.getLogger(__name__)

#: What a model needs of its repository; leaves out exports to other formats and weights that are pickles.
HUB_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.md", "*.jinja")
#: Exports to other formats that some repositories carry as folders.
HUB_IGNORED = ("onnx/*", "openvino/*", "*.onnx")
HUB_TIMEOUT_SECONDS = 10.0

Model = TypeVar("Model", bound="BaseModel")


def resolve_folder(model_name: Any, *, organization: str) -> Path:
    """Find the folder of a model: a local folder, else the local hub cache, else a download.

    Args:
        model_name: A folder or a hub name.
        organization: Put before a hub name that has none, as sentence-transformers does.

    Raises:
        InvalidArgumentError: Not a name.
        ModelLoadError: Nothing there; the message says where was looked.
    """
    if not isinstance(model_name, str | Path) or not str(model_name).strip():
        raise InvalidArgumentError(f"model_name: expected a folder or a hub name, got {model_name!r}.")
    name = str(model_name)
    path = Path(name).expanduser()
    if path.is_dir():
        folder = path.resolve()
    elif path.exists():
        raise ModelLoadError(f"'{name}' is a file. Expected a folder with a model, or a hub name.")
    elif _looks_like_a_path(name):
        raise ModelLoadError(
            f"There is no folder '{name}'. Check the path, or give a hub name 'owner/model'."
        )
    else:
        folder = _from_hub(name, organization)
    check_folder(folder, name)
    return folder


def load_model(cls: type[Model], folder: Path, **kwargs: Any) -> Model:
    """Load a sentence-transformers object on the CPU in float32, from this folder only, none of its code.

    Raises:
        ModelLoadError: The folder's files do not make a model; says what the libraries said.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        with quiet():
            model = cls(
                str(folder),
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": torch.float32},
                **kwargs,
            )
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        ImportError,
        SafetensorError,
        StrictDataclassError,
    ) as error:
        raise ModelLoadError(
            f"The model in '{folder}' cannot be loaded ({type(error).__name__}: {error})."
        ) from error
    model.eval()
    _check_weights(model, folder)
    _check_vocabulary(model, folder)
    return model


def stored_names(folder: Path) -> set[str]:
    """Return the names of all weights in a folder's safetensors files."""
    from safetensors import safe_open

    names: set[str] = set()
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as weights:
            # Early checkpoints call the two parts of a layer norm gamma and beta.
            names |= {
                name.replace(".gamma", ".weight").replace(".beta", ".bias")
                for name in weights.keys()  # noqa: SIM118
            }
    return names


def position_limit(model: "BaseModel") -> int | None:
    """Return the longest input that the language model has positions for, ``None`` where there is no limit.

    Models of RoBERTa's family count positions from ``padding_idx + 1``, so two of their places are never
    used; one token too many is an index out of range, which on a GPU spoils the whole process.
    """
    language_model = model.transformers_model
    config = getattr(language_model, "config", None)
    limit = getattr(config, "max_position_embeddings", None)
    if language_model is None or not isinstance(limit, int) or limit < 1:
        return None
    for name, module in language_model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and isinstance(padding, int):
            return limit - padding - 1
    return limit


def clamp_length(model: "BaseModel", wanted: int | None, name: str) -> int | None:
    """Set the longest input to ``wanted``, or leave the model's own, but never beyond its positions.

    Returns:
        The length in tokens that is now set; ``None`` where the model has no limit.
    """
    limit = position_limit(model)
    length = model.max_seq_length if wanted is None else wanted
    if limit is not None and (length is None or length > limit):
        if wanted is not None:
            logger.warning("%s=%d is more than the model reads; it is set to %d.", name, wanted, limit)
        length = limit
    if length is not None and length != model.max_seq_length:
        model.max_seq_length = length
    return length


def _check_weights(model: "BaseModel", folder: Path) -> None:
    """Refuse files of another architecture: transformers fills what it does not find with random numbers.

    Names are compared from the end, because a prefix differs with the head a checkpoint was saved with; half
    of them must be there, because a few are renamed on loading.
    """
    language_model = model.transformers_model
    if language_model is None:
        return
    prefix = f"{language_model.base_model_prefix}."
    stored = {name.rsplit(prefix, 1)[-1] for name in stored_names(folder)}
    wanted = {name.removeprefix(prefix) for name in language_model.state_dict()}
    if len(wanted & stored) * 2 < len(wanted):
        raise ModelLoadError(
            f"The weights in '{folder}' are not those of the {type(language_model).__name__} that "
            f"config.json describes: only {len(wanted & stored)} of {len(wanted)} are there. Save the model "
            "again as a whole."
        )


def _check_vocabulary(model: "BaseModel", folder: Path) -> None:
    """Refuse a tokenizer of another model: a number without an embedding ends a query, and on a GPU the process.

    Tokens that were added later are left out, since many a model has some that no text leads to.
    """
    tokenizer: Any = getattr(model[0], "tokenizer", None)
    if model.transformers_model is None or not hasattr(tokenizer, "get_vocab"):
        return
    try:
        rows = getattr(model.transformers_model.get_input_embeddings(), "num_embeddings", None)
    except NotImplementedError:
        return  # Of a model that reads no tokens.
    added = getattr(tokenizer, "added_tokens_decoder", {})
    highest = max((number for number in tokenizer.get_vocab().values() if number not in added), default=-1)
    if rows is not None and highest >= rows:
        raise ModelLoadError(
            f"The tokenizer in '{folder}' counts up to {highest:,}, and the model has {rows:,} embeddings: the two do "
            "not belong together. Save the model again as a whole."
        )


def _looks_like_a_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.endswith("/") or name.count("/") > 1 or "\\" in name


def _from_hub(name: str, organization: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    from sentence_transformers.util.misc import ORIGINAL_TRANSFORMER_MODELS

    full = name
    if "/" not in name and name.lower() not in ORIGINAL_TRANSFORMER_MODELS:
        full = f"{organization}/{name}"
    try:
        cached = Path(snapshot_download(full, local_files_only=True))
        if any(cached.rglob("*.safetensors")):
            return cached
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as error:
        raise ModelLoadError(f"'{name}' is neither a folder nor a hub name ({error}).") from error
    return _download(full, name)


def _http_error() -> type[Exception]:
    """Return the base error of the HTTP library that the hub's client uses, which differs between versions."""
    from huggingface_hub import utils

    library = getattr(utils, "httpx", None) or import_module("httpx")
    error: type[Exception] = library.HTTPError
    return error


def _download(full: str, name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    looked = f"There is no folder '{name}', and the local hub cache has no complete model '{full}'"
    fix = "Give the path of a local folder, or load it once where the hub can be reached."
    try:
        # One request with a time limit and without retries tells at once whether the hub answers.
        HfApi().model_info(full, timeout=HUB_TIMEOUT_SECONDS)
        return Path(
            snapshot_download(full, allow_patterns=list(HUB_FILES), ignore_patterns=list(HUB_IGNORED))
        )
    except OfflineModeIsEnabled as error:
        raise ModelLoadError(f"{looked}; the hub is switched off (HF_HUB_OFFLINE). {fix}") from error
    except HfHubHTTPError as error:
        raise ModelLoadError(
            f"{looked}; the hub refuses it: {error}. Check the name and your token."
        ) from error
    except (_http_error(), OSError, RuntimeError) as error:
        raise ModelLoadError(f"{looked}; the hub cannot be reached ({error}). {fix}") from error

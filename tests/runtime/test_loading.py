"""What does not lead to a model is refused in under two seconds, with a message that says what to do."""

import json
import shutil
import time
from pathlib import Path

import pytest

from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings
from langchain_rerank_retriever.errors import InvalidArgumentError, ModelLoadError
from langchain_rerank_retriever.runtime.models import fingerprint as fingerprints
from langchain_rerank_retriever.runtime.models.loading import load_model, position_limit, resolve_folder

from . import tiny

BOTH = pytest.mark.parametrize("make", [PooledEmbeddings, CrossEncoderScorer])


@pytest.fixture(autouse=True)
def loaded_libraries() -> None:
    """Import what loading imports, so that the clock below measures loading."""
    import sentence_transformers  # noqa: F401


def refuse(make: type, name: object, match: str) -> None:
    start = time.perf_counter()
    with pytest.raises(ModelLoadError, match=match):
        make(name)
    assert time.perf_counter() - start < 2


@BOTH
@pytest.mark.parametrize("name", ["nobody/no-such-model", "no-such-model"])
@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_a_hub_name_without_a_network(make: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    refuse(
        make, name, f"There is no folder '{name}', and the local hub cache .* Give the path of a local folder"
    )


@BOTH
def test_a_hub_name_with_the_hub_switched_off(make: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refuse(make, "nobody/no-such-model", r"switched off \(HF_HUB_OFFLINE\)")


@BOTH
@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "models/a/b", "nothing/"])
def test_a_path_that_is_not_there(make: type, name: str) -> None:
    refuse(make, name, f"There is no folder '{name}'. Check the path")


@BOTH
def test_a_name_that_no_hub_has(make: type) -> None:
    refuse(make, "bad name!", "There is no folder|neither a folder nor a hub name")


@BOTH
def test_a_file(make: type, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    refuse(make, path, "is a file. Expected a folder")


@BOTH
def test_an_empty_folder(make: type, tmp_path: Path) -> None:
    refuse(make, tmp_path, "has no model weights: expected model.safetensors, but it is empty")


@BOTH
def test_a_folder_without_weights(make: type, tmp_path: Path, minilm_folder: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(minilm_folder / name, tmp_path / name)
    refuse(make, tmp_path, "no model weights: .* it holds config.json, tokenizer.json")


@BOTH
def test_weights_that_are_a_pickle_are_never_read(make: type, tmp_path: Path, minilm_folder: Path) -> None:
    shutil.copy(minilm_folder / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    refuse(make, tmp_path, r"pytorch_model\.bin', a pickle file.*save_pretrained")


def test_a_pickle_in_a_module_folder_is_never_read(tmp_path: Path, minilm_folder: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(minilm_folder, folder)
    (folder / "1_Pooling" / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    refuse(PooledEmbeddings, folder, r"1_Pooling.*pytorch_model\.bin', a pickle file")


def test_cut_off_weights(tmp_path: Path, minilm_folder: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(minilm_folder, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    refuse(PooledEmbeddings, folder, "cannot be loaded")


def test_weights_of_another_architecture(tmp_path: Path, minilm_folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    shutil.copytree(minilm_folder, tmp_path / "model")
    save_file({"other.weight": torch.ones(2, 2)}, tmp_path / "model" / "model.safetensors")
    refuse(PooledEmbeddings, tmp_path / "model", "only 0 of .* are there. Save the model again")


def test_a_damaged_module_list(tmp_path: Path, minilm_folder: Path) -> None:
    shutil.copytree(minilm_folder, tmp_path / "model")
    (tmp_path / "model" / "modules.json").write_text("{")
    refuse(PooledEmbeddings, tmp_path / "model", "modules.json cannot be read")


def test_code_in_a_model_folder_does_not_run(tmp_path: Path, minilm_folder: Path) -> None:
    shutil.copytree(minilm_folder, tmp_path / "model")
    (tmp_path / "model" / "evil.py").write_text("raise SystemExit('ran')\nclass Evil: pass\n")
    modules = json.loads((minilm_folder / "modules.json").read_text())
    modules[1]["type"] = "evil.Evil"
    (tmp_path / "model" / "modules.json").write_text(json.dumps(modules))
    refuse(PooledEmbeddings, tmp_path / "model", "cannot be loaded")


@BOTH
@pytest.mark.parametrize("name", ["", "  ", 3, b"model"])
def test_what_is_no_name(make: type, name: object) -> None:
    with pytest.raises(InvalidArgumentError, match="expected a folder or a hub name"):
        make(name)


def test_a_folder_wins_over_a_hub_name(
    tmp_path: Path, minilm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(minilm_folder, tmp_path / "owner" / "model")
    monkeypatch.chdir(tmp_path)
    assert resolve_folder("owner/model", organization="x") == tmp_path / "owner" / "model"


def test_a_model_in_the_hub_cache_needs_no_network(
    tmp_path: Path, minilm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "models--sentence-transformers--cached" / "snapshots" / ("a" * 40)
    shutil.copytree(minilm_folder, snapshot)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert resolve_folder("cached", organization="sentence-transformers") == snapshot


def test_position_limit_of_a_roberta_leaves_out_the_padding_places(
    tmp_path: Path, minilm_folder: Path
) -> None:
    from sentence_transformers import SentenceTransformer
    from transformers import AutoTokenizer, RobertaConfig, RobertaModel

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    config = RobertaConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=66,
    )
    RobertaModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert position_limit(load_model(SentenceTransformer, tmp_path)) == 64
    with PooledEmbeddings(tmp_path, precision="float32") as embeddings:
        assert embeddings.max_seq_length == 64
        assert embeddings.encode(["word " * 500]).shape == (1, 32)


@pytest.mark.parametrize(
    "inputs", [["input_ids", "attention_maSk", "token_type_ids"], ["input_ids", 3], "input_ids"]
)
@BOTH
def test_a_tokenizer_whose_inputs_are_misspelt(make: type, inputs: object, tmp_path: Path) -> None:
    """The library leaves such a one out: without the mask, padding would count as text."""
    folder = tiny.save_classifier(tmp_path / "model", "bert")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "model_input_names": inputs}))
    refuse(
        make, str(folder), r"model_input_names=.*; expected some of .*'attention_mask'.*save the model again"
    )


def test_a_tokenizer_that_no_longer_tells_the_texts_of_a_pair_apart_is_another(tmp_path: Path) -> None:
    """As where the key of its inputs is misspelt: the library then takes those that every model has."""
    folder = tiny.save_classifier(tmp_path / "model", "bert")
    file = folder / "tokenizer_config.json"
    with CrossEncoderScorer(folder, precision="float32") as whole:
        config = json.loads(file.read_text(encoding="utf-8"))
        config["model_input_namer"] = config.pop("model_input_names")
        file.write_text(json.dumps(config), encoding="utf-8")
        with CrossEncoderScorer(folder, precision="float32") as other:
            assert other.score([("one", "two")]) != whole.score([("one", "two")])
            assert other.fingerprint != whole.fingerprint


@BOTH
def test_a_tokenizer_that_fails_at_unknown_words(make: type, tmp_path: Path) -> None:
    folder = tiny.save_classifier(tmp_path / "model", "bert")
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    assert tokenizer["model"]["unk_token"] == "[UNK]"
    tokenizer["model"]["unk_token"] = "[UNk]"
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    refuse(make, str(folder), "(tokenizer fails at the text|gives no score for a pair) .*UNK.*")


def test_a_panic_of_a_tokenizer_is_told_as_an_error() -> None:
    """It is no `Exception`, so that it would pass by everything."""

    class Panic(BaseException):
        pass

    def tokenizer(text: str) -> None:
        raise Panic(f"no entry found for {text}")

    with pytest.raises(ModelLoadError, match="Panic: no entry found"):
        fingerprints._ids(tokenizer, "key")

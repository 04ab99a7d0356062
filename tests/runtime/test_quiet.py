"""Bars and reports of transformers: none unless they are asked for, and the user's settings are as they were."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub.utils import are_progress_bars_disabled
from transformers.utils import logging

from langchain_rerank_retriever import PooledEmbeddings
from langchain_rerank_retriever.runtime.models.quiet import quiet


def settings() -> tuple[bool, bool, int]:
    return logging.is_progress_bar_enabled(), are_progress_bars_disabled(), logging.get_verbosity()


@pytest.fixture(autouse=True)
def talkative() -> Iterator[None]:
    """The user wants to hear everything, and still does after the test."""
    bars, _, verbosity = settings()
    logging.enable_progress_bar()
    logging.set_verbosity_info()
    yield
    assert settings() == (True, False, logging.INFO)
    logging.set_verbosity(verbosity)
    if not bars:
        logging.disable_progress_bar()


@pytest.mark.parametrize("show_progress", [False, True])
def test_saving_draws_bars_only_where_asked(
    minilm_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], show_progress: bool
) -> None:
    with PooledEmbeddings(minilm_folder, precision="float32", show_progress=show_progress) as embeddings:
        capfd.readouterr()
        embeddings.save(tmp_path / "saved")
    err = capfd.readouterr().err
    assert ("Writing model shards" in err) is show_progress
    assert ("%|" in err) is show_progress


def test_blocks_of_threads_overlap() -> None:
    first, second = quiet(), quiet()
    before = settings()
    with first:
        second.__enter__()
        assert settings() == (False, True, logging.ERROR)
    # The first has ended while the second has not.
    assert settings() == (False, True, logging.ERROR)
    second.__exit__(None, None, None)
    assert settings() == before


def test_what_raises_is_not_quiet_for_good() -> None:
    with pytest.raises(ValueError, match="theirs"), quiet():
        raise ValueError("theirs")
    assert settings() == (True, False, logging.INFO)

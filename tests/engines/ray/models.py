"""Models for workers: quick to load, slow enough to be killed at work, or deadly."""

import os
import signal
import time

from tests.conftest import HashEmbeddings

POISON = "poison"


class PacedEmbeddings(HashEmbeddings):
    """Takes so many seconds for every call."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        time.sleep(self.seconds)
        return super().embed_documents(texts)


class DeadlyEmbeddings(HashEmbeddings):
    """Ends the process that embeds a poisoned text, as want of memory does."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if any(POISON in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed_documents(texts)


class BrokenEmbeddings(HashEmbeddings):
    """Gives what is no vector for a poisoned text."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        vectors = super().embed_documents(texts)
        return [[float("nan")] * 32 if POISON in text else one for text, one in zip(texts, vectors)]

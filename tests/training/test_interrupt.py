"""The first Ctrl-C ends training early, the second stops at once, and nothing stays changed."""

import signal
import threading

import pytest

from langchain_rerank_retriever.training.interrupt import ends_early


def test_the_first_asks_and_the_second_stops(caplog: pytest.LogCaptureFixture) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), ends_early() as asked:  # noqa: PT012
        assert not asked()
        signal.raise_signal(signal.SIGINT)
        assert asked()
        assert "Press Ctrl-C again" in caplog.text
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second did nothing")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_of_the_program_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: got.append(number))
    try:
        with ends_early() as asked:
            signal.raise_signal(signal.SIGINT)
            assert not asked()
    finally:
        signal.signal(signal.SIGINT, before)
    assert got == [signal.SIGINT]


def test_other_threads_have_no_signals() -> None:
    said = []

    def work() -> None:
        with ends_early() as asked:
            said.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said == [False]

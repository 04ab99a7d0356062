"""The processes of one launch: the main one does the work, the others take part where an encoder trains.

`accelerate launch` and `torchrun` start a script several times and tell each process of the others by environment
variables. What the processes say to each other is JSON from the main process to all others, over a channel of its
own beside the one that gradients take.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

from langchain_rerank_retriever.errors import InvalidArgumentError, LaunchError

#: How long processes wait for each other in the middle of a training, and to come together: torch's usual ten minutes.
#: Writing a checkpoint of a large model, the longest that one lets the others wait there, takes a fraction of it.
STEP_SECONDS = 600.0

#: How long the others wait for the main process to come to the next training, which is longest for indexing millions
#: of documents. A process that ends is noticed at once, whatever it is.
WORK_SECONDS = 48 * 3600.0

#: How long the main process offers its error to the others, which takes those that are listening milliseconds. In the
#: middle of a step nobody is, and after Ctrl-C the user is waiting.
FAREWELL_SECONDS = 2.0

#: Pauses between two looks at what is on its way: short at first for what comes with every step, then longer, so that
#: waiting costs no processor time. In between Ctrl-C is heard.
FIRST_PAUSE, LONGEST_PAUSE = 0.0001, 0.05

#: What says that a launch splits a model over its processes, which is not what is done here.
_SPLITTING = {
    "DeepSpeed": "ACCELERATE_USE_DEEPSPEED",
    "FSDP": "ACCELERATE_USE_FSDP",
    "Megatron-LM": "ACCELERATE_USE_MEGATRON_LM",
}

#: What is said where another process is not there any more.
GONE = (
    "Another process of this launch has ended; its own output says why. Launch again, with resume=True to go on from "
    "the newest complete checkpoint."
)

#: How torch's ways between processes say that the other end is gone.
_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting")


@dataclass(frozen=True, slots=True)
class Together:
    """This process among those of its launch.

    Attributes:
        rank: Its number, from 0; the main process has 0.
        size: How many there are.
        channel: A process group over gloo; None for one process alone.
    """

    rank: int = 0
    size: int = 1
    channel: Any = None

    @property
    def main(self) -> bool:
        """Whether this is the main process."""
        return self.rank == 0

    def same(self, value: Any) -> Any:
        """Give all processes what the main one has; each must call it as often as the others.

        Args:
            value: JSON; of the main process. What the others pass is not looked at.

        Raises:
            LaunchError: The main process failed, or another one is gone.
        """
        if self.size == 1:
            return value
        if self.main:
            self._send({"value": value}, WORK_SECONDS)
            return value
        said = self._receive()
        if "failed" in said:
            raise LaunchError(f"The main process of this launch failed: {said['failed']}")
        return said["value"]

    def mean(self, value: float) -> float:
        """Return the mean over all processes, in all of them; each must call it.

        Raises:
            LaunchError: Another process is gone.
        """
        if self.size == 1:
            return value
        import torch
        from torch import distributed

        total = torch.tensor([value], dtype=torch.float64)
        _finish(lambda: distributed.all_reduce(total, group=self.channel, async_op=True), STEP_SECONDS)
        return float(total) / self.size

    def wait(self) -> None:
        """Return when all processes have called this.

        Raises:
            LaunchError: Another process is gone.
        """
        self.mean(0.0)

    def fail(self, error: BaseException) -> None:
        """Have the others fail, too, with the words of an error of the main process, where they are listening.

        Where they are not, they fail when this process ends and its connections close.
        """
        words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        with suppress(LaunchError):
            self._send({"failed": words}, FAREWELL_SECONDS)

    def _send(self, message: dict[str, Any], seconds: float) -> None:
        import torch

        data = torch.frombuffer(bytearray(json.dumps(message).encode()), dtype=torch.uint8)
        self._broadcast(torch.tensor([len(data)]), seconds)
        self._broadcast(data, seconds)

    def _receive(self) -> dict[str, Any]:
        import torch

        length = torch.zeros(1, dtype=torch.int64)
        self._broadcast(length, WORK_SECONDS)
        data = torch.empty(int(length), dtype=torch.uint8)
        self._broadcast(data, WORK_SECONDS)
        return dict(json.loads(data.numpy().tobytes()))

    def _broadcast(self, tensor: Any, seconds: float) -> None:
        from torch import distributed

        _finish(
            lambda: distributed.broadcast(tensor, src=0, group=self.channel, async_op=True),
            seconds,
        )


#: A process that was not launched with others.
ALONE = Together()


def launched() -> bool:
    """Tell whether this process was launched with others, by what `accelerate launch` and `torchrun` set."""
    return _environment_number("WORLD_SIZE") > 1


def check_launch() -> None:
    """Refuse launches that ask for what is not done here.

    Raises:
        InvalidArgumentError: The launch splits models over its processes.
    """
    for name, variable in _SPLITTING.items():
        if launched() and os.environ.get(variable, "").lower() == "true":
            raise InvalidArgumentError(
                f"tune trains with the whole model in every process, got a launch with {name}. Launch with "
                "'accelerate launch --multi_gpu' or 'torchrun' instead."
            )


@lru_cache(maxsize=1)
def together() -> Together:
    """Meet the other processes of the launch; `ALONE` where there is none. All must call this.

    Raises:
        LaunchError: Not all of them came within ten minutes.
    """
    if not launched():
        return ALONE
    import torch
    from accelerate import PartialState
    from torch import distributed

    on_cpu = not torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    try:
        state = PartialState(cpu=on_cpu, timeout=timedelta(seconds=STEP_SECONDS))
        channel = distributed.new_group(backend="gloo", timeout=timedelta(seconds=WORK_SECONDS))
    except (RuntimeError, ValueError) as error:
        raise LaunchError(
            f"The {os.environ['WORLD_SIZE']} processes of this launch did not come together; each of them must call "
            f"tune ({error})."
        ) from error
    return Together(state.process_index, state.num_processes, channel)


def is_about_another_process(error: RuntimeError) -> bool:
    """Tell whether an error of torch says that another process of the launch is gone or does not answer."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or any(words in str(error) for words in _GONE)


def _finish(start: Callable[[], Any], seconds: float) -> None:
    """Start an exchange and wait for its end."""
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    try:
        work = start()
        while not work.is_completed() and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        late = not work.is_completed()
        if not late:
            work.wait()
    except RuntimeError as error:
        raise LaunchError(GONE) from error
    if late:
        raise LaunchError(f"Another process of this launch did not answer within {seconds:.0f} s.")


def _environment_number(name: str) -> int:
    try:
        return int(os.environ.get(name, "1"))
    except ValueError:
        return 1

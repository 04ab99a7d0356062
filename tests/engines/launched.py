"""One engine's pytest run; started by `tests.engines`, with --isolated if it has a network of its own."""

import signal
import socket
import struct
import subprocess
import sys
from fcntl import ioctl
from pathlib import Path
from types import FrameType

import pytest

ISOLATED = "--isolated"

#: Where Milvus writes whatever it is told: its process id in the first, the ids of its parts in the second.
RUN, MILVUS = Path("/run"), Path("/tmp/milvus")

# Of linux/sockios.h and linux/if.h.
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
_REQUEST = "16sh14x"


def bring_up_loopback() -> None:
    """Switch the device `lo` on; the kernel then gives it 127.0.0.1 and ::1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = ioctl(any_socket, SIOCGIFFLAGS, struct.pack(_REQUEST, b"lo", 0))
        flags = struct.unpack(_REQUEST, answer)[1]
        ioctl(any_socket, SIOCSIFFLAGS, struct.pack(_REQUEST, b"lo", flags | IFF_UP))


def isolate() -> None:
    """Make the namespaces that this process is in a place for servers: a loopback device, and folders of its own."""
    bring_up_loopback()
    MILVUS.mkdir(exist_ok=True)
    for folder in (RUN, MILVUS):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)


def interrupt(number: int, frame: FrameType | None) -> None:
    """End like Ctrl-C does, with every fixture torn down."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    arguments = sys.argv[1:]
    if arguments[0] == ISOLATED:
        isolate()
        arguments = arguments[1:]
    sys.exit(pytest.main(arguments))

"""One engine's pytest run; started by `tests.engines`, with --isolated if in a network namespace of its own."""

import signal
import socket
import struct
import sys
from fcntl import ioctl
from types import FrameType

import pytest

ISOLATED = "--isolated"

# Of linux/sockios.h and linux/if.h.
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
_REQUEST = "16sh14x"


def bring_up_loopback() -> None:
    """Switch the device `lo` on; the kernel then gives it 127.0.0.1 and ::1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = ioctl(any_socket, SIOCGIFFLAGS, struct.pack(_REQUEST, b"lo", 0))
        flags = struct.unpack(_REQUEST, answer)[1]
        ioctl(any_socket, SIOCSIFFLAGS, struct.pack(_REQUEST, b"lo", flags | IFF_UP))


def interrupt(number: int, frame: FrameType | None) -> None:
    """End like Ctrl-C does, with every fixture torn down."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    arguments = sys.argv[1:]
    if arguments[0] == ISOLATED:
        bring_up_loopback()
        arguments = arguments[1:]
    sys.exit(pytest.main(arguments))

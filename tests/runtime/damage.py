"""Ways in which a file of a cache goes bad."""

from pathlib import Path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def garble(path: Path) -> None:
    path.write_bytes(b'{"facts": 3, "sha256"')


def be_another_thing(path: Path) -> None:
    path.write_text('["facts", "sha256"]')


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()

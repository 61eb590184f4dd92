"""A line of `gatework chat` is edited as in a shell."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

pty = pytest.importorskip("pty")
pytest.importorskip("readline")

BOT = """
from types import SimpleNamespace
from gatework.cli.chat import converse
said = lambda text: f"<{text}>"
converse(SimpleNamespace(conversation=lambda: SimpleNamespace(turns=[], settings={}, say=said)))
"""


def test_a_line_is_edited_and_called_back():
    """Ctrl-A goes to its start, Ctrl-P brings the last one back, and letters beyond ASCII are whole."""
    master, slave = pty.openpty()
    command = [sys.executable, "-c", BOT]
    environment = {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment):
        os.close(slave)
        read_until(master, b"you> ")
        os.write(master, "ört\x01w\r".encode())
        assert "<wört>" in read_until(master, b">\r\n").decode()
        os.write(master, b"\x10\r")
        assert "<wört>" in read_until(master, b">\r\n").decode()
        os.write(master, b"/quit\r")
    os.close(master)


def read_until(master: int, end: bytes) -> bytes:
    text, until = b"", time.monotonic() + 60
    while end not in text and time.monotonic() < until:
        text += os.read(master, 1024)
    return text

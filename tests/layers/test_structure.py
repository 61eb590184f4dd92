"""What a stack is, as a value."""

from __future__ import annotations

import base64
import os
import pickle
import subprocess
import sys

import gatework as gw

COPIED = """
import base64, pickle, sys
import gatework as gw
copy = pickle.loads(base64.b64decode(sys.argv[1]))
assert copy == gw.LSTM(3, 4).stack
assert {copy: 1}[gw.LSTM(3, 4).stack] == 1
assert {copy.cell: 1}[gw.lstm.graph] == 1
"""


def test_a_stack_that_another_process_reads_is_found_by_its_equals() -> None:
    """A module that a user saves whole holds its stack: hashes of texts are other ones in the process that loads it."""
    stack = gw.LSTM(3, 4).stack
    hash(stack)  # kept from now on
    text = base64.b64encode(pickle.dumps(stack)).decode()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", COPIED, text], env=environment, check=True)

"""Array headers that are read in several threads at once, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

# Threads change places in the middle of a syntax tree, at different depths of their stacks.
PROGRAM = """
import gc, io, threading, time
import numpy as np
from flops.learning.literals import take_turns

take_turns()
take_turns()
stream = io.BytesIO()
np.save(stream, np.zeros((3, 2)))
faults = []
gc.set_threshold(20)
gc.callbacks.append(lambda *_: time.sleep(0))

def read(depth):
    if depth:
        return read(depth - 1)
    for _ in range(5000):
        try:
            np.load(io.BytesIO(stream.getvalue()))
        except SystemError as error:
            faults.append(error)

threads = [threading.Thread(target=read, args=(10 * number,)) for number in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(faults))
"""


def test_threads_that_read_arrays_do_not_disturb_each_other() -> None:
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert ended.stdout == "0\n"

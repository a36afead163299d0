"""Stages that start at once: one process imports what all of them need, and a fork of it runs each that DVC asks for.

DVC starts each stage as a command of its own, and to import torch and its company takes seconds, three times for every
candidate. Within `warm_stages` there is a server (flows/stages/warm.py); `python -m flows.stages STAGE` hands its
folder, environment and output over to that and waits for the exit code. Where there is no server, the command runs the
stage itself; which of the two did is no part of the result.

Only the standard library is imported here: the command must cost next to nothing.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

SERVER = "ERRATA_STAGE_SERVER"  # the Unix socket of the server, for the commands that DVC starts
STARTED = b"started\n"


@contextmanager
def warm_stages() -> Iterator[None]:
    """Have a server for the stages of this process's nights; it ends with the block, or with this process.

    It is not waited for: it imports while the night reads its inbox. A stage that comes too early waits for it.
    """
    with TemporaryDirectory(prefix="errata-stages-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = str(Path(folder) / "server")  # in a folder that only this user may enter
        listener.bind(path)
        listener.listen()
        server = subprocess.Popen(
            [sys.executable, "-m", "errata.flows.stages.warm", str(listener.fileno())],
            stdin=subprocess.PIPE,  # never written to: when it closes, the server ends
            stdout=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
        listener.close()
        os.environ[SERVER] = path
        try:
            yield
        finally:
            del os.environ[SERVER]
            server.communicate()


def hand_over(stage: str) -> int | None:
    """The exit code of a stage that the server ran here; None if there is no server, and nothing was started.

    A stage that was started and of which no word came back is a failure: it may still be at work.
    """
    if SERVER not in os.environ:
        return None
    request = json.dumps({"stage": stage, "folder": str(Path.cwd()), "environment": dict(os.environ)}).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(os.environ[SERVER])
            socket.send_fds(connection, [len(request).to_bytes(8, "big")], [1, 2])
            connection.sendall(request)
            with connection.makefile("rb") as answers:
                if answers.readline() != STARTED:
                    return None
                code = answers.readline()
        except OSError:
            return None
    if not code:
        print(f"Error: {stage}: the process that ran it was killed", file=sys.stderr)
        return 1
    return int(code)

"""The server of `warm_stages`: imports what stages need, and forks for each that is asked for.

    python -m flows.stages.warm LISTENER        the listening socket's number; ends when standard input does

Once it has what the first stage needs it serves, and imports what later stages need while that one runs. It never
computes anything itself, so that a fork finds neither threads nor a GPU in use.
"""

from __future__ import annotations

import importlib
import json
import os
import selectors
import signal
import socket
import sys
import traceback

from errata.flows.stages.__main__ import run_here
from errata.flows.stages.handover import SERVER, STARTED

FIRST = (  # the stage `edit`, and what it imports when it comes to it
    "errata.flows.stages.edit",
    "safetensors.torch",
    "sklearn.cluster",
)
LATER = (  # what the stages after it need besides
    "errata.flows.stages.export",
    "onnx",
    "errata.flows.stages.evaluate",
    "onnxruntime",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
)


def serve(listener: socket.socket, lifeline: int) -> None:
    """Answer until `lifeline` closes, then wait for what still runs; import the rest while nobody asks."""
    running: dict[int, socket.socket] = {}
    left = list(reversed(LATER))
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked gets it too, and closes the lifeline
    with selectors.DefaultSelector() as ready:
        for source in (listener, lifeline, woken):
            ready.register(source, selectors.EVENT_READ)
        while running or listener.fileno() >= 0:
            events = ready.select(0 if left else None)
            if left and not events:
                importlib.import_module(left.pop())
            for event, _ in events:
                if event.fileobj is woken:
                    woken.recv(4096)
                    _tell_ended(running)
                elif event.fileobj is listener:
                    connection, _ = listener.accept()
                    running[_start(connection, listener)] = connection
                else:
                    ready.unregister(lifeline)
                    ready.unregister(listener)
                    listener.close()
                    left.clear()


def _tell_ended(running: dict[int, socket.socket]) -> None:
    """Send the exit codes of stages that have ended to who waits for them."""
    while running:
        process, status = os.waitpid(-1, os.WNOHANG)
        if not process:
            return
        with running.pop(process) as connection:
            try:
                connection.sendall(f"{os.waitstatus_to_exitcode(status) & 0xFF}\n".encode())
            except OSError:  # who asked was killed
                continue


def _start(connection: socket.socket, listener: socket.socket) -> int:
    """Fork for the stage that is asked for on `connection`."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        listener.close()  # or who asks after the server's end would wait for an answer
        code = _run(connection)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # of a fork nothing may come back into the server's loop
        traceback.print_exc()
    os._exit(code)


def _run(connection: socket.socket) -> int:
    """In the fork: take the place of the command that asked, and run its stage."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    head, outputs, _, _ = socket.recv_fds(connection, 8, 2)
    with connection.makefile("rb") as sent:
        request = json.loads(sent.read(int.from_bytes(head, "big")))
    for number, output in enumerate(outputs, 1):
        os.dup2(output, number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update({name: value for name, value in request["environment"].items() if name != SERVER})
    connection.sendall(STARTED)
    return run_here(request["stage"])


if __name__ == "__main__":
    for name in FIRST:
        importlib.import_module(name)
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        serve(listening, sys.stdin.fileno())
    os._exit(0)  # it holds nothing, and to take torch and its company down takes a second that the night would wait

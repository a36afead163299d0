"""The commands that dvc.yaml runs: prepare, train, edit, export, evaluate.

python -m errata.flows.stages STAGE        in the folder that holds dvc.yaml and params.yaml
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from errata.flows.stages.handover import SERVER, hand_over

if TYPE_CHECKING:
    from errata.flows.workspace import Workspace

STAGES = ("prepare", "train", "edit", "export", "evaluate")
TORCHRUN = "ERRATA_TORCHRUN"  # torchrun's words, "--nproc-per-node 2" say: so many processes train the root together


def run(stage: str, workspace: Workspace) -> None:
    """Run one stage in `workspace`. Raises DataError for wrong parameters before it imports what is slow."""
    params = workspace.params

    import torch

    from errata.flows.stages.common import load_plugins
    from errata.flows.stages.edit import edit
    from errata.flows.stages.evaluate import evaluate
    from errata.flows.stages.export import export
    from errata.flows.stages.prepare import prepare
    from errata.flows.stages.train import train_root

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it CUDA refuses to be deterministic
    torch.set_deterministic_debug_mode("error")  # the same as use_deterministic_algorithms, which imports a compiler
    load_plugins(params.model.plugins, workspace)
    match stage:
        case "prepare":
            prepare(workspace, params)
        case "train":
            train_root(workspace, params)
        case "edit":
            edit(workspace, params)
        case "export":
            export(workspace)
        case "evaluate":
            evaluate(workspace, params)


def run_here(stage: str) -> int:
    """Run one stage in this process and folder; a fault is told and the exit code is its own."""
    from errata.editing.errors import ErrataError
    from errata.flows.workspace import Workspace

    try:
        run(stage, Workspace(Path()))
    except ErrataError as fault:
        print(f"Error: {stage}: {fault}", file=sys.stderr)
        return fault.exit_code
    return 0


def run_in_processes(words: str) -> NoReturn:
    """Become torchrun, which runs the stage `train` in several processes and fails if one of them does."""
    command = [sys.executable, "-m", "torch.distributed.run", *shlex.split(words), "-m", "errata.flows.stages", "train"]
    os.execve(sys.executable, command, {name: value for name, value in os.environ.items() if name != SERVER})


def main(arguments: list[str]) -> int:
    """Run one stage, by the server for stages if there is one."""
    if len(arguments) != 1 or arguments[0] not in STAGES:
        print(f"usage: python -m errata.flows.stages {{{','.join(STAGES)}}}", file=sys.stderr)
        return 2
    if arguments == ["train"] and (words := os.environ.get(TORCHRUN)) and "RANK" not in os.environ:
        run_in_processes(words)
    code = hand_over(arguments[0])
    return run_here(arguments[0]) if code is None else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

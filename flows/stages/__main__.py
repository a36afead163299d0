"""The commands that dvc.yaml runs: prepare, train, edit, export, evaluate.

python -m flows.stages STAGE        in the folder that holds dvc.yaml and params.yaml
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from editing.errors import ErrataError
from flows.params import Params
from flows.stages.common import load_plugins
from flows.stages.edit import edit
from flows.stages.evaluate import evaluate
from flows.stages.export import export
from flows.stages.prepare import prepare
from flows.stages.train import train_root
from flows.workspace import Workspace

STAGES: dict[str, Callable[[Workspace, Params], None]] = {
    "prepare": prepare,
    "train": train_root,
    "edit": edit,
    "export": export,
    "evaluate": evaluate,
}


def main(arguments: list[str]) -> int:
    """Run one stage here; a fault is one readable line and exit code 1."""
    if len(arguments) != 1 or arguments[0] not in STAGES:
        print(f"usage: python -m flows.stages {{{','.join(STAGES)}}}", file=sys.stderr)
        return 2
    try:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it CUDA refuses to be deterministic
        torch.use_deterministic_algorithms(True)
        workspace = Workspace(Path())
        params = workspace.params
        load_plugins(params.model.plugins)
        STAGES[arguments[0]](workspace, params)
    except ErrataError as fault:
        print(f"Error: {arguments[0]}: {fault}", file=sys.stderr)
        return fault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Tables in Markdown, with how they were measured: every number carries n, spread, hardware and versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from errata.editing.metrics import Estimate
from errata.editing.studies.protocol import Summary, Trial, summarise


def per_cent(estimate: Estimate | None, digits: int = 2) -> str:
    """A share as per cent with its interval: `1.77% [1.50, 2.01]`."""
    if estimate is None:
        return "-"
    mean, low, high = (f"{100 * value:.{digits}f}" for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean}% [{low}, {high}]"


def number(estimate: Estimate, digits: int = 2) -> str:
    """A number with its interval."""
    return f"{estimate.mean:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


HEADINGS = (
    "editor", "settings", "edits", "drawdown", "success", "steps", "test error", "negative flips", "generalization",
    "seconds an edit", "fallbacks", "flips near the boundary",
)  # fmt: skip


def row(name: str, settings: str, trials: Sequence[Trial], *, with_already: bool) -> list[str]:
    """One editor's cells, in the order of HEADINGS."""
    found: Summary = summarise(trials, with_already=with_already)
    return [
        name,
        settings,
        str(found.drawdown.n),
        per_cent(found.drawdown),
        per_cent(found.success, 1),
        number(found.steps),
        f"{100 * found.error:.2f}%",
        per_cent(found.negative_flips),
        per_cent(found.generalization, 0),
        f"{found.seconds.mean:.3g}",
        str(found.fallbacks),
        per_cent(found.boundary_flips, 1),
    ]


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def environment(device: str) -> str:
    """Hardware and versions, in a sentence."""
    hardware = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{_processor()}, CPU only"
    threads = torch.get_num_threads()
    return (
        f"{hardware}, {os.cpu_count()} cores, {threads} thread{'s' if threads > 1 else ''} used; "
        f"Python {platform.python_version()}, torch {torch.__version__}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())

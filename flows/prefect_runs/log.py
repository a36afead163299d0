"""Faults in a run's log as a person reads them: one line that says what to do. Anything unforeseen keeps its trace."""

from __future__ import annotations

import logging

from errata.editing.errors import ErrataError


class OneLine(logging.Filter):
    """Takes the trace off a record whose exception is one of ours, and says it in a sentence."""

    def filter(self, record: logging.LogRecord) -> bool:
        fault = record.exc_info[1] if record.exc_info else None
        if isinstance(fault, ErrataError):
            record.msg, record.args, record.exc_info, record.exc_text = f"{fault}", (), None, None
        return True


def speak_in_lines() -> None:
    """Let Prefect's loggers of flow and task runs speak in single lines; again is harmless."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(each, OneLine) for each in logger.filters):
            logger.addFilter(OneLine())

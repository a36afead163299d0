"""`errata report IMAGE` files a report, and `errata report show REPORT` tells what became of one."""

from __future__ import annotations

import typer
from typer.core import TyperGroup


class FilingGroup(TyperGroup):
    """Words that begin with no command's name are those of `file`: an image called so is `./show`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Put `file` before such words."""
        if not args or args[0] not in self.commands:
            args = ["file", *args]
        return super().parse_args(ctx, args)

"""What the `errata` command starts: the command line, or how to install it where only a client of releases is."""

import sys
from importlib.util import find_spec

NEEDED = ("typer", "rich", "torch", "dvc", "prefect")


def main() -> None:
    """Run the command line; without what a night needs, one line that says what to install."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(
            f"Error: {', '.join(missing)} not installed; `pip install 'errata-models[night]'` has all that it needs"
        )
    from errata.flows.cli.app import main as run

    run()

"""The command line as a person meets it: its help, and its completion in a shell."""

import os
import subprocess
import sys
import tomllib

from typer.testing import CliRunner

from errata.flows.cli.app import PANELS, app
from tests.flows.conftest import REPOSITORY


def test_help_teaches_the_first_day_and_the_exit_codes() -> None:
    said = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout.split())
    assert said.index("A first day") < said.index("Exit codes: 0 done")
    places = [said.index(f"─ {panel} ─") for panel in PANELS]
    assert places == sorted(places)


def test_it_says_its_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.stdout) == (0, f"errata {project['version']}\n")


def test_a_shell_completes_commands() -> None:
    asked = {"_ERRATA_COMPLETE": "complete_bash", "COMP_WORDS": "errata re", "COMP_CWORD": "1"}
    line = "import sys; sys.argv = ['errata']; from errata.flows.cli.entry import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", line],
        cwd=REPOSITORY,
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert {"report", "requeue", "releases", "retract", "reinstate", "reproduce"} <= set(done.stdout.split())

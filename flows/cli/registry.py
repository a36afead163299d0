"""The command that hands releases over to MLflow."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from errata.flows.cli.base import AsJson, Store, app, out, say_json


@app.command(rich_help_panel="Releases")
def mlflow(
    version: Annotated[
        int | None, typer.Argument(help="A release; by default the live one and the candidate in shadow, with aliases")
    ] = None,
    name: Annotated[str, typer.Option(help="The registered model's name")] = "errata",
    uri: Annotated[str, typer.Option(envvar="MLFLOW_TRACKING_URI", help="Where MLflow is")] = "",
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Register a release in MLflow, with model card and measurements; `live` and `candidate` are aliases."""
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.mlflow_registry import register_releases

    done = register_releases(existing_store(store), name, uri=uri, version=version)
    if as_json:
        say_json([asdict(each) for each in done])
        return
    for each in done:
        alias = f", alias {each.alias}" if each.alias else ""
        out.print(f"release {each.release} is version {each.version} of {name}{alias}")

"""The command that serves the review page."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from errata.flows.cli.base import Store, app, out

SECRET = "ERRATA_REVIEW_SECRET"


@app.command(rich_help_panel="Reports")
def review(
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on")] = 8001,
    name: Annotated[
        str | None, typer.Option("--as", help="Whom the printed sign-in names. Default: who runs this")
    ] = None,
    token: Annotated[
        bool, typer.Option("--token", help="Only print a sign-in for --as, by the secret that is set")
    ] = False,
    hours: Annotated[float, typer.Option(min=0.01, help="How long a sign-in is valid")] = 24.0,
    proxy_header: Annotated[
        str | None, typer.Option(metavar="HEADER", help="A proxy signs people in, and names them in this header")
    ] = None,
    proxy: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Whence that header is believed; 127.0.0.1 by default")
    ] = None,
    store: Store = None,
) -> None:
    """Serve the review page: look at the claims that wait, and accept, refuse or correct them.

    Runs in the folder with params.yaml: who is in trust.trusted there decides alone. ERRATA_REVIEW_SECRET in the
    environment keeps sign-ins valid beyond this process.
    """
    from errata.editing.errors import DataError
    from errata.flows.cli.review.sign_in import SignIn
    from errata.flows.cli.store import existing_store
    from errata.flows.workspace import open_workspace, operator

    secret = os.environ.get(SECRET, "").encode()
    if token and not secret:
        raise DataError(
            f"set {SECRET} first, here and where `errata review` runs: without it a sign-in is of one process"
        )
    sign_in = SignIn(
        secret or None, header=proxy_header, proxies=frozenset(proxy or ["127.0.0.1"]), seconds=hours * 3600
    )
    try:
        issued = sign_in.issue(name or operator())
    except ValueError as fault:
        raise DataError(f"{name!r} is no name that a report may have") from fault
    if token:
        out.print(issued, highlight=False, soft_wrap=True)
        return
    from errata.data.connections import ConnectionLimits, server
    from errata.flows.cli.review.effect import TrafficEffect
    from errata.flows.cli.review.nights import Nights
    from errata.flows.cli.review.service import create_app
    from errata.flows.prefect_runs.approval import server_of_its_own

    workspace, storage = open_workspace(), existing_store(store)
    service = create_app(
        storage,
        workspace.params.trust,
        workspace.params.model.slots,
        sign_in,
        Nights() if server_of_its_own() else None,
        TrafficEffect(workspace, storage),
        ConnectionLimits(connections=128, per_client=32 if proxy_header is None else 0),
    )
    if proxy_header is None:
        out.print("Review at this address, which signs you in:", highlight=False)
        out.print(f"  http://{host}:{port}/sign-in#{issued}", highlight=False, soft_wrap=True)
    server(service, service.state.limits, host=host, port=port).run()

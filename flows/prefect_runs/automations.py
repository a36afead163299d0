"""What Prefect's server tells of runs that cannot: killed ones, ones that no worker began, failed ones.

python -m errata.flows.prefect_runs.automations      on the server that PREFECT_API_URL names, to ERRATA_WEBHOOK

Made anew each time, by their names, so that an address that was changed is changed here as well. Without an address
there are none.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import cast
from uuid import UUID

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events import EventTrigger
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import Posture
from prefect.types import SecretDict
from pydantic import SecretStr

from errata.flows.night.notices import OPERATOR
from errata.flows.night.webhook import webhook_of
from errata.flows.prefect_runs.run_names import TAG

NAME = "errata: a run needs a person"
BLOCK = "errata-webhook"
STATES = ("Failed", "Crashed", "TimedOut", "Late")
PAYLOAD = """{
  "type": "run.unsettled",
  "timestamp": {{ event.occurred | string | tojson }},
  "text": {{ ("Errata: run " ~ flow_run.name ~ " is " ~ flow_run.state.name ~ ": "
    ~ ((flow_run | ui_url) or flow_run.id)) | tojson }},
  "data": {"run": {{ flow_run.name | tojson }}, "state": {{ flow_run.state.name | tojson }}}
}"""


def set_up_automations(url: str) -> None:
    """Have the server call `url` when a run of this project fails, crashes or is late."""
    block = Webhook(url=SecretStr(url), headers=SecretDict({"content-type": "application/json"}))
    block_id = cast(UUID, block.save(BLOCK, overwrite=True))  # no coroutine: nobody awaits here
    automation = Automation(
        name=NAME,
        description="A night that was killed, or that no worker began, cannot tell it itself",
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in STATES},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[CallWebhook(block_document_id=block_id, payload=PAYLOAD)],
    )
    remove_automations()
    automation.create()


def remove_automations() -> None:
    """Remove what was set up before, if it was."""
    with get_client(sync_client=True) as client:
        for each in client.read_automations_by_name(NAME):
            client.delete_automation(each.id)


if __name__ == "__main__":
    webhook = webhook_of(OPERATOR, os.environ)
    if webhook is None:
        remove_automations()
    else:
        set_up_automations(webhook.url)

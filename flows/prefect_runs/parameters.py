"""The types of the flows' parameters: what Prefect's form shows as examples and refuses before a run starts.

The form takes its explanations from the docstring of each flow.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Store = Annotated[str | None, Field(examples=["/srv/errata/store", "s3://models/errata"])]
Workspace = Annotated[str | None, Field(examples=["/srv/errata"])]
By = Annotated[str, Field(min_length=1, max_length=200)]

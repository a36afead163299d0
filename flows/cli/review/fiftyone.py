"""The queue as a data set for FiftyOne, and what people decided there as reports.

A folder as FiftyOne's own `FiftyOneDataset` type: `samples.json`, `metadata.json` and the images in `data/`. It is
written in the form of before version 0.8, which later versions read as well and which does not depend on the version of
their database; what they export is read back: in both forms `samples.json` has the samples with their fields.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from errata.data.belief.trust import TrustSettings
from errata.data.records import Sha256, wrong_fields
from errata.editing.errors import DataError
from errata.flows.cli.review.annotations import Annotation, Task, open_tasks
from errata.flows.cli.review.live import Desk

SAMPLES = "samples.json"
IS = "is:"  # how a tag begins that says the class
_TOLERANT = ConfigDict(frozen=True)  # their format has many fields more


class _Label(BaseModel):
    model_config = _TOLERANT

    label: str | None = None


class _Sample(BaseModel):
    model_config = _TOLERANT

    errata_image: Sha256
    tags: list[str] = []
    decision: _Label | None = None


class _Export(BaseModel):
    model_config = _TOLERANT

    samples: list[_Sample] = Field(max_length=100_000)


def write_dataset(desk: Desk, trust: TrustSettings, folder: Path) -> int:
    """Write the claims that wait as a data set into a new `folder`; returns how many.

    Raises DataError if it is there already.
    """
    try:
        (folder / "data").mkdir(parents=True)
    except FileExistsError as fault:
        raise DataError(f"{folder} is there already; name a new folder") from fault
    samples = []
    for each in open_tasks(desk, trust):
        name = f"data/{each.side.key}.png"
        (folder / name).write_bytes(each.picture)
        samples.append(_sample(desk, each, name))
    info = {"classes": list(desk.model().classes), "release": desk.model().version}
    (folder / "metadata.json").write_text(json.dumps({"media_type": "image", "info": info}, indent=1))
    (folder / SAMPLES).write_text(json.dumps({"samples": samples}, indent=1))
    return len(samples)


def _sample(desk: Desk, task: Task, name: str) -> dict[str, object]:
    said = task.looked.predicted
    return {
        "filepath": name,
        "tags": [],
        "metadata": None,
        "claim": {"_cls": "Classification", "label": task.side.expected},
        "prediction": {"_cls": "Classification", "label": said, "confidence": task.looked.probabilities[said]},
        "said_by": ", ".join(task.side.reporters),
        "doubt": task.side.doubt,
        "errata_image": task.side.image,
    }


def read_decisions(folder: Path, reporter: str) -> list[Annotation]:
    """What a data set that FiftyOne exported to `folder` says.

    Of each sample that is the label of the field `decision`, or the class of its tag `is:CLASS`; of others nothing.

    Raises DataError naming what is wrong, and where both or two tags contradict each other.
    """
    path = folder / SAMPLES
    try:
        export = _Export.model_validate(json.loads(path.read_bytes()))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise DataError(f"{path} is no export of such a data set: {wrong_fields(error, 'the file')}") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    found = []
    for sample in export.samples:
        said = {tag.removeprefix(IS) for tag in sample.tags if tag.startswith(IS)}
        said |= {sample.decision.label} if sample.decision and sample.decision.label else set()
        if len(said) > 1:
            raise DataError(f"image {sample.errata_image[:12]} is said to be {' and '.join(sorted(said))}; leave one")
        found += [Annotation(sample.errata_image, each, reporter) for each in said]
    return found

"""Releases in MLflow's model registry: external models, whose files stay in the store, each with its model card.

Every release is a version of one registered model; the aliases `live` and `candidate` say what inference serves and
what waits in shadow. MLflow is told and never asked: what it holds may be deleted. Needs the extra `mlflow`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from errata.data import layout
from errata.data.releases.candidate import read_candidate
from errata.data.releases.manifest import Manifest, read_file
from errata.data.storage.base import Storage
from errata.editing.errors import NightError, NotInstalled
from errata.flows.gate.measurements import GateMeasurements
from errata.flows.releases.contents.bundle import MODEL_CARD
from errata.flows.releases.pointer import released_digest, require_live, verified

if TYPE_CHECKING:
    from mlflow import MlflowClient

LIVE, CANDIDATE = "live", "candidate"
DIGEST = "errata.manifest"  # the tag by which a release is known


@dataclass(frozen=True)
class Registered:
    """A release and the version that MLflow gave it; `new`: it was not there before; `alias` may be ""."""

    release: int
    version: str
    new: bool
    alias: str = ""


def register_releases(storage: Storage, name: str, *, uri: str = "", version: int | None = None) -> list[Registered]:
    """Put a release into MLflow's registry as `name`; without `version` the live one and the candidate, with aliases.

    `uri`: where MLflow is; by default what MLFLOW_TRACKING_URI says. Again is harmless: what is there stays. Raises
    NotInstalled, NightError if MLflow does not take it, Damaged if the release does not verify.
    """
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ImportError as fault:
        raise NotInstalled("MLflow is not installed: `pip install 'errata-models[mlflow]'`") from fault
    wanted = _wanted(storage, version)
    try:
        if uri:
            mlflow.set_tracking_uri(uri)
        client = mlflow.MlflowClient()
        done = [_register(client, storage, name, manifest, alias) for alias, manifest in wanted.items()]
        if version is None and CANDIDATE not in wanted and CANDIDATE in client.get_registered_model(name).aliases:
            client.delete_registered_model_alias(name, CANDIDATE)
        return done
    except MlflowException as fault:
        raise NightError(f"MLflow at {mlflow.get_tracking_uri()} does not take it: {fault}") from fault


def _wanted(storage: Storage, version: int | None) -> Mapping[str, Manifest]:
    """The releases to register, verified, by their alias, which is "" for one that was asked for by its version."""
    if version is not None:
        return {"": verified(storage, version, released_digest(storage, version))}
    live, _ = require_live(storage)
    wanted = {LIVE: verified(storage, live.version, live.manifest_sha256)}
    candidate = read_candidate(storage)
    if candidate and candidate.waits(live.manifest_sha256, live.newest):
        wanted[CANDIDATE] = verified(storage, candidate.version, candidate.manifest_sha256)
    return wanted


def _register(client: MlflowClient, storage: Storage, name: str, manifest: Manifest, alias: str) -> Registered:
    found = _version_of(client, name, manifest.digest)
    version = found or _add(client, storage, name, manifest)
    if alias:
        client.set_registered_model_alias(name, alias, version)
    return Registered(manifest.version, version, not found, alias)


def _version_of(client: MlflowClient, name: str, digest: str) -> str:
    """The version under which MLflow has a release; "" if it has not."""
    quoted = name.replace("'", "\\'")
    for each in client.search_model_versions(f"name = '{quoted}'"):
        if each.tags.get(DIGEST) == digest:
            return str(each.version)
    return ""


def _add(client: MlflowClient, storage: Storage, name: str, manifest: Manifest) -> str:
    """Log the release as an external model, its measurements and its card, and register that; its version."""
    import mlflow

    where = f"{storage.url}/{layout.release_file(manifest.version, '')}"
    tags = {DIGEST: manifest.digest, "errata.release": str(manifest.version), "errata.files": where}
    params = {"root": manifest.root, "ledger": manifest.ledger, "splits": manifest.splits, "params": manifest.params}
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
    with mlflow.start_run(experiment_id=experiment_id, run_name=f"release {manifest.version}"):
        model = mlflow.create_external_model(
            f"release-{manifest.version}", tags=tags, params=params, model_type="errata"
        )
        mlflow.log_metrics(_measured(storage, manifest), model_id=model.model_id)
        with TemporaryDirectory(prefix="errata-mlflow-") as folder:
            for file in (MODEL_CARD, layout.REPORT):
                if file in manifest.files:
                    (Path(folder) / file).write_bytes(read_file(storage, manifest, file))
            (Path(folder) / layout.MANIFEST).write_bytes(manifest.to_json())
            client.log_model_artifacts(model.model_id, folder)
    registered = mlflow.register_model(f"models:/{model.model_id}", name, tags=tags)
    told = (
        f"{manifest.kind} with {manifest.corrections} corrections; its files are {where}, its model card {MODEL_CARD}"
    )
    client.update_model_version(name, registered.version, f"Release {manifest.version}: {told}")
    return str(registered.version)


def _measured(storage: Storage, manifest: Manifest) -> dict[str, float]:
    """What the gate measured, by criterion: those that are numbers."""
    rows = GateMeasurements.from_json(read_file(storage, manifest, "gate.json")).rows
    return {each.name: each.value for each in rows if math.isfinite(each.value)} | {
        "corrections": float(manifest.corrections)
    }

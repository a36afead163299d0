"""The manifests of docs/kubernetes: what the API server would say of them, and what every pod must be."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parent.parent / "docs" / "kubernetes"
VERSION = "1.33"


def manifests() -> list[dict[str, Any]]:
    found = [each for path in sorted(FOLDER.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]
    return [each for each in found if each["kind"] != "Kustomization"]


def templates(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pod templates of one."""
    spec = manifest.get("spec", {})
    for each in (spec, spec.get("headGroupSpec", {}), *spec.get("workerGroupSpecs", ())):
        if "template" in each:
            yield each["template"]


def test_the_schemas_of_kubernetes_take_them() -> None:
    """Ray's own kind is not among those; its pods are looked at as pods."""
    lint = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    for each in manifests():
        pods = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, **pod} for pod in templates(each)]
        for document in pods if each["apiVersion"].startswith("ray.io/") else [each]:
            lint.validate(document, VERSION, strict=True)


def test_the_linter_would_say_so() -> None:
    lint = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    (service,) = (
        each for each in manifests() if each["metadata"]["name"] == "errata-service" and each["kind"] == "Deployment"
    )
    service["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(lint.ValidationError):
        lint.validate(service, VERSION, strict=True)


def test_no_pod_is_root_writes_to_its_image_or_takes_all_memory() -> None:
    pods = [template["spec"] for each in manifests() for template in templates(each)]
    assert len(pods) == 5
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            can = container["securityContext"]
            assert can["readOnlyRootFilesystem"] is True and can["allowPrivilegeEscalation"] is False
            assert can["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            mounted = {each["name"] for each in container.get("volumeMounts", ())}
            assert mounted <= {each["name"] for each in pod["volumes"]}


def test_secrets_are_named_and_in_no_file() -> None:
    assert not [each for each in manifests() if each["kind"] == "Secret"]
    assert "errata-s3" in (FOLDER / "worker.yaml").read_text()


def test_every_file_is_applied() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert {*listed, "kustomization.yaml", "ray.yaml"} == {path.name for path in FOLDER.glob("*.yaml")}

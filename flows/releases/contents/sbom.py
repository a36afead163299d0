"""Which packages were installed where a release was made: `sbom.cdx.json` (CycloneDX 1.6), for scanners of packages.

It tells of a machine, not of root, ledger and parameters, so it lies beside the manifest and is no part of the digest.
"""

from __future__ import annotations

import json
from contextlib import suppress
from email.message import Message
from functools import cache
from importlib.metadata import distributions
from typing import cast
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.exception.factory import CycloneDxFactoryException
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from errata.data.records import canonical_json


@cache
def environment_sbom() -> bytes:
    """Every distribution that this interpreter finds, its licence as it declares it, and what it needs of the others.

    The same packages give the same bytes: no time, and a serial number made from the content.
    """
    components: dict[str, Component] = {}
    needs: dict[str, set[str]] = {}
    for each in distributions():
        about = cast(Message, each.metadata)  # parsed at each access
        name: str = canonicalize_name(about["Name"])
        components[name] = _component(name, about, from_index=each.read_text("direct_url.json") is None)
        needs[name] = _needs(about)
    bom = Bom(components=components.values())
    for name, component in components.items():
        bom.register_dependency(component, [components[need] for need in sorted(needs[name] & set(components))])
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["metadata"], document["serialNumber"]  # when, and a random number
    serial = uuid5(NAMESPACE_URL, canonical_json(document).decode())
    return canonical_json({**document, "serialNumber": serial.urn})


def _component(name: str, about: Message, *, from_index: bool) -> Component:
    """`from_index`: not installed from a folder or a file, so that its name is that of PyPI's package."""
    package = PackageURL("pypi", name=name, version=about["Version"]) if from_index else None
    made = Component(name=name, version=about["Version"], purl=package, bom_ref=f"{name}=={about['Version']}")
    if expression := about["License-Expression"]:
        with suppress(CycloneDxFactoryException):  # no SPDX expression: nothing is claimed
            made.licenses.add(LicenseFactory().make_with_expression(expression))
    return made


def _needs(about: Message) -> set[str]:
    """The names of what it needs on this machine, but for its extras."""
    needs = map(Requirement, about.get_all("Requires-Dist", []))
    return {
        canonicalize_name(need.name) for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})
    }

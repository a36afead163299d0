"""The templates of pages, and what a page lets a browser do: nothing from elsewhere, and no script but its own."""

from __future__ import annotations

import base64
import hashlib
import math

from jinja2 import Environment, PackageLoader, StrictUndefined


def page_templates() -> Environment:
    """The templates of pages; all that is put into them is escaped."""
    environment = Environment(
        loader=PackageLoader("errata.flows.releases.contents"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: "not measured" if value is None else f"{value:.2%}"
    environment.filters["rate"] = lambda value: f"{value:.1%}" if math.isfinite(value) else "not measured"
    return environment


def source(name: str) -> str:
    """A style sheet's or a script's text."""
    return (PackageLoader("errata.flows.releases.contents").get_source(page_templates(), name))[0]


def policy(style: str, script: str) -> str:
    """A Content-Security-Policy for a page with these two in it: their digests, and pictures beside or in the page."""
    allowed = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in (style, script))
    return "default-src 'none'; img-src data: file: 'self'; style-src 'sha256-{}'; script-src 'sha256-{}'".format(
        *allowed
    )

"""Replace the places of the app's operations that call other systems."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from flask import Flask

from vca.api.admission import Admissions
from vca.kit.admission import Admission


@contextmanager
def calling_out_places(
    app: Flask, places: int, *, per_tenant: int | None = None
) -> Iterator[Admission]:
    """Allow this many operations that call out in this process, within the block."""
    admissions: Admissions = app.extensions["admissions"]
    calling_out = Admission(
        "calling_out", places=places, places_per_owner=per_tenant, refusal="All in use."
    )
    app.extensions["admissions"] = replace(admissions, calling_out=calling_out)
    try:
        yield calling_out
    finally:
        app.extensions["admissions"] = admissions

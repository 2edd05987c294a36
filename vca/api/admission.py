"""Limit the threads of this process that wait for slow bodies, or for other systems.

The README has a table of all threads. The worker reserves threads for carriers and monitoring
before a request gets here: see `vca.servers.gunicorn_worker`.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Flask, Response, current_app, g, request

from vca.api import requests
from vca.kit.admission import Admission, AdmissionObserver
from vca.kit.web import request_body, request_thread
from vca.observability import metrics
from vca.settings import Settings

SLOW_BODIES_PER_KEY = 2
# The owner of the places that requests without a tenant take.
_PLATFORM = "platform"


def _count_refusal(name: str) -> None:
    metrics.ADMISSIONS_REFUSED.inc(admission=name)


def _count_use(name: str, change: int) -> None:
    metrics.ADMISSIONS_IN_USE.add(change, admission=name)
    if change > 0:  # a request takes a place only in order to wait
        request_thread.begin_waiting()
    else:
        request_thread.end_waiting()


OBSERVER = AdmissionObserver(on_refusal=_count_refusal, on_use=_count_use)


@dataclass(frozen=True)
class Admissions:
    """The admissions of one process."""

    calling_out: Admission
    slow_bodies: Admission
    carrier_bodies: Admission

    @classmethod
    def from_settings(cls, settings: Settings) -> "Admissions":
        """Return the admissions of the deployment."""
        shares = settings.thread_shares
        return cls(
            Admission(
                "calling_out",
                places=shares.calling_out,
                places_per_owner=shares.calling_out_per_tenant,
                refusal="Too many requests of this tenant, or of all tenants, wait for a carrier, "
                "a model or another system in this process; retry later.",
                observer=OBSERVER,
            ),
            Admission(
                "slow_bodies",
                places=shares.slow_bodies,
                places_per_owner=SLOW_BODIES_PER_KEY,
                refusal="Too many bodies arrive slowly at this process; retry later.",
                observer=OBSERVER,
            ),
            Admission(
                "carrier_bodies",
                places=shares.slow_clients,
                refusal="Too many bodies arrive slowly at this process; retry later.",
                observer=OBSERVER,
            ),
        )


def install(app: Flask, settings: Settings) -> None:
    """Give the app its admissions, and count what they refuse."""
    app.extensions["admissions"] = Admissions.from_settings(settings)


def current_admissions() -> Admissions:
    """Return the app's admissions."""
    admissions: Admissions = current_app.extensions["admissions"]
    return admissions


def read_key_body() -> bool:
    """Receive the body of a request with a valid key; return whether it had to wait for it.

    Raises what `request_body.read_body` raises, and Busy.
    """
    hold_place = partial(current_admissions().slow_bodies.place, g.caller.key_id)
    return request_body.read_body(request, hold_place, max_bytes=requests.MAX_BODY)


def read_carrier_body(*, max_bytes: int) -> None:
    """Receive the body of a carrier's request; its signature can be checked only afterwards.

    Slow bodies of carriers have places of their own. A body that is sent with its head needs none.
    """
    hold_place = partial(current_admissions().carrier_bodies.place, "carrier")
    request_body.read_body(request, hold_place, max_bytes=max_bytes)


@contextmanager
def calling_out() -> Iterator[Callable[[Response], Response]]:
    """Hold a place for an operation that calls out. Raises Busy.

    The block passes its response to the function that this yields: a streamed response keeps the
    place until the stream ends.
    """
    tenant = g.get("tenant")
    give_back = current_admissions().calling_out.take(_PLATFORM if tenant is None else tenant.id)
    is_streamed = False

    def hold_while_streamed(response: Response) -> Response:
        nonlocal is_streamed
        if response.is_streamed:
            is_streamed = True
            response.response = _StreamWithPlace(response.response, give_back)
            response.call_on_close(give_back)  # also if it is never iterated
        return response

    try:
        yield hold_while_streamed
    finally:
        if not is_streamed:
            give_back()


class _StreamWithPlace:
    """The content of a streamed response; gives a place back when it ends or is closed early."""

    def __init__(self, content: Iterable[Any], give_back: Callable[[], None]) -> None:
        self._content = content
        self._iterator = iter(content)
        self._give_back = give_back

    def __iter__(self) -> "_StreamWithPlace":
        return self

    def __next__(self) -> Any:
        try:
            return next(self._iterator)
        except BaseException:  # also the end
            self._give_back()
            raise

    def close(self) -> None:
        """Close the content."""
        try:
            if hasattr(self._content, "close"):
                self._content.close()
        finally:
            self._give_back()

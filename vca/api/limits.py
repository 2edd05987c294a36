"""How much anybody may ask: requests of a key and of a tenant, failures of an address.

Failures are bad keys and bad signatures. Who has spent his is told 429 instead of 401 or 403, and
nothing else changes: a good key or a carrier's good signature from there is served as ever.

Who is refused is answered no faster than tokens come, by threads that nobody else needs: a client
that asks again at once, on a few connections, is slowed down to its limit instead of keeping the
machine busy with refusals. When all of those threads wait, the rest is refused at once.

The `RateLimit` headers are those of draft-ietf-httpapi-ratelimit-headers-11.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Semaphore
from time import sleep
from uuid import UUID

from flask import Flask, Response, current_app, g, request
from sqlalchemy import Connection

from vca.api import origin
from vca.api.errors import problem
from vca.kit import crypto, db, log, metrics
from vca.kit.addresses import Network
from vca.kit.config import Settings
from vca.kit.db import DatabaseFailure
from vca.registry.api_keys.service import Caller
from vca.registry.rate_limits.buckets import Limit
from vca.registry.rate_limits.leases import Leases, RateLimited, Standing

POLICY, STANDING = "RateLimit-Policy", "RateLimit"
_MINUTE = 60
# All senders share 65,536 buckets, so that strangers with many addresses fill no table; who
# has one in common with them is told 429 for a wrong key.
_SLOT_BYTES = 2
_SENDERS = b"failing sender"
_MOST_REFUSED = 1_000


@dataclass(frozen=True)
class Rates:
    """What is allowed: requests a second, failures a minute. 0: as many as anybody likes.

    `threads` of a process may be kept by refusals that wait for their turn.
    """

    key: float = 0
    tenant: float = 0
    platform_key: float = 0
    window_s: int = 5
    failures: int = 0
    secret: str = ""
    trusted_proxies: Sequence[Network] = ()
    threads: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "Rates":
        return cls(
            settings.rate_limit_key,
            settings.rate_limit_tenant,
            settings.rate_limit_platform_key,
            settings.rate_limit_window_s,
            settings.rate_limit_failures,
            settings.secret_key,
            settings.trusted_proxies,
            settings.rate_limit_threads,
        )


class Limiter:
    """The limits of one process's requests."""

    def __init__(
        self,
        rates: Rates,
        leases: Leases | None = None,
        *,
        wait: Callable[[float], None] = sleep,
    ) -> None:
        self._rates = rates
        self._wait = wait
        self._threads = Semaphore(rates.threads)
        self._leases = leases or Leases()
        self._refused: dict[bytes, Sequence[Limit]] = {}

    def check(self, presented: str) -> None:
        """Refuse a key that was just refused, without asking whose it is. Raises RateLimited."""
        known = _digest(presented) if self._refused else b""
        limits = self._refused.get(known)
        if limits is not None:
            self._leases.check(limits)
            self._refused.pop(known, None)

    def charge(
        self, connection: Connection, caller: Caller, presented: str
    ) -> tuple[Standing, ...]:
        """One request of a good key. Raises RateLimited."""
        limits = self._of_caller(caller)
        if not limits:
            return ()
        try:
            return self._leases.spend(connection, limits)
        except RateLimited:
            if len(self._refused) >= _MOST_REFUSED:
                self._refused.clear()
            self._refused[_digest(presented)] = limits
            raise

    def check_sender(self, sender: str) -> None:
        """Refuse a failure that is known to be one too many. Raises RateLimited."""
        self._leases.check(self._of_sender(sender))

    def fail(self, connection: Connection, sender: str) -> None:
        """One failure of an address. Raises RateLimited."""
        self._leases.spend(connection, self._of_sender(sender))

    def hold(self, limit: Limit) -> None:
        """Keep a refusal until it is its turn, if there is a thread for that."""
        if self._threads.acquire(blocking=False):
            try:
                self._wait(self._leases.turn(limit))
            finally:
                self._threads.release()

    def sender(self) -> str:
        """Where the present request comes from."""
        forwarded_for = request.headers.get("X-Forwarded-For", "")
        return origin.of(request.remote_addr, forwarded_for, self._rates.trusted_proxies)

    def _of_caller(self, caller: Caller) -> list[Limit]:
        """A key before its tenant, always: see `buckets.draw`."""
        rates = self._rates
        rate = rates.platform_key if caller.is_platform else rates.key
        wanted = [("key", caller.key_id, rate), ("tenant", caller.tenant_id, rates.tenant)]
        return [
            Limit(name, bucket, rate, round(rate * rates.window_s))
            for name, bucket, rate in wanted
            if bucket is not None and rate
        ]

    def _of_sender(self, sender: str) -> list[Limit]:
        failures = self._rates.failures
        if not failures:
            return []
        slot = crypto.keyed_hash(f"addresses|{self._rates.secret}", sender)[:_SLOT_BYTES]
        bucket = UUID(bytes=_SENDERS + slot)
        return [Limit("address", bucket, failures / _MINUTE, failures, counts="failures")]


def install(app: Flask, rates: Rates) -> None:
    """Limit the app's requests, and tell keys how they stand."""
    app.extensions["limiter"] = Limiter(rates)
    app.register_error_handler(RateLimited, _limited)
    app.after_request(_tell)


def current() -> Limiter:
    """The app's limiter."""
    found: Limiter = current_app.extensions["limiter"]
    return found


def check(presented: str) -> None:
    """Refuse a key that is known to have asked too much. Raises RateLimited."""
    current().check(presented)


def charge(connection: Connection, caller: Caller, presented: str) -> None:
    """Count a request of a good key. Raises RateLimited."""
    g.standings = current().charge(connection, caller, presented)


def bad_key(connection: Connection) -> None:
    """Count a bad key. Raises RateLimited if its sender had too many."""
    limiter = current()
    limiter.fail(connection, limiter.sender())


def bad_signature() -> None:
    """Count a carrier's bad signature. Raises RateLimited if its sender had too many.

    With the database away nothing is counted: it is refused in any case.
    """
    limiter = current()
    sender = limiter.sender()
    limiter.check_sender(sender)
    try:
        with db.current().connection() as connection:
            limiter.fail(connection, sender)
    except DatabaseFailure as error:
        log.get().warning("limits.not_counted", exc_info=error)


def _digest(presented: str) -> bytes:
    return hashlib.sha256(presented.encode()).digest()


def _limited(error: RateLimited) -> Response:
    name = error.limit.name
    metrics.RATE_LIMITED.inc(limit=name)
    current().hold(error.limit)  # nothing else is held by now: no connection, no lock
    g.standings = error.standings
    response = problem(error.status, error.problem_code, error.title, error.detail, limit=name)
    response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def _tell(response: Response) -> Response:
    standings: Sequence[Standing] = g.get("standings", ())
    if standings:
        response.headers[POLICY] = ", ".join(
            f'"{one.limit.name}";q={one.limit.burst};w={one.limit.window_s}' for one in standings
        )
        response.headers[STANDING] = ", ".join(
            f'"{one.limit.name}";r={one.remaining};t={one.reset_s}' for one in standings
        )
    return response

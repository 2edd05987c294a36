"""Rate limits: requests of an API key and of a tenant, failures of a client address.

Failures are bad keys and bad signatures. After too many of them from one address, further failures
return 429 instead of 401 or 403. Valid keys and valid carrier signatures from the same address
still work.

Rejected requests are delayed to the limit's refill rate, on a separate thread budget. A client that
retries immediately on a few connections is slowed down to its limit and cannot keep the server busy
with rejections. When all of those threads are waiting, further rejections are immediate.

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

from vca.api import client_ip
from vca.api.errors import problem
from vca.kit import crypto
from vca.kit.addresses import Network
from vca.kit.db import DatabaseFailure
from vca.observability import log, metrics
from vca.registry.api_keys.service import AuthenticatedKey
from vca.registry.rate_limits.buckets import Limit, TokenRequests
from vca.registry.rate_limits.token_cache import (
    AcquiredTokens,
    LimitStatus,
    RateLimited,
    TokenCache,
)
from vca.services import current_services
from vca.settings import Settings

POLICY_HEADER, STATUS_HEADER = "RateLimit-Policy", "RateLimit"
_MINUTE_S = 60
# All client addresses share 65,536 buckets, so that attackers with many addresses cannot fill a
# table. A client that shares a bucket with one of them gets 429 for a wrong key.
_ADDRESS_HASH_BYTES = 2
_ADDRESS_BUCKET_PREFIX = b"failing sender"
_MAX_REJECTED_KEYS = 1_000
_MAX_KNOWN_KEYS = 10_000


@dataclass(frozen=True)
class RateLimitConfig:
    """Allowed requests per second and failures per minute; 0 means no limit.

    `rejection_threads` is how many threads of a process may be waiting with delayed rejections.
    """

    key: float = 0
    tenant: float = 0
    platform_key: float = 0
    window_s: int = 5
    failures: int = 0
    secret: str = ""
    trusted_proxies: Sequence[Network] = ()
    rejection_threads: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> "RateLimitConfig":
        """Return the configuration of the deployment."""
        return cls(
            settings.rate_limit_key,
            settings.rate_limit_tenant,
            settings.rate_limit_platform_key,
            settings.rate_limit_window_s,
            settings.rate_limit_failures,
            settings.secret_key,
            settings.trusted_proxies,
            # Threads that serve calls must not wait with rejections.
            0 if settings.serves_relay else settings.rate_limit_threads,
        )


class Limiter:
    """The rate limits of one process."""

    def __init__(
        self,
        config: RateLimitConfig,
        token_cache: TokenCache | None = None,
        *,
        wait: Callable[[float], None] = sleep,
    ) -> None:
        self._config = config
        self._wait = wait
        self._rejection_slots = Semaphore(config.rejection_threads)
        self._token_cache = token_cache or TokenCache()
        self._rejected_keys: dict[bytes, Sequence[Limit]] = {}
        self._limits_of_keys: dict[bytes, Sequence[Limit]] = {}

    def check_key(self, key: str) -> None:
        """Reject a key that was just rejected, without authenticating it. Raises RateLimited."""
        key_digest = _key_digest(key) if self._rejected_keys else b""
        limits = self._rejected_keys.get(key_digest)
        if limits is not None:
            self._token_cache.check(limits)
            self._rejected_keys.pop(key_digest, None)

    def plan_requests(self, key: str) -> TokenRequests:
        """Return the tokens to acquire while a key is looked up that this process has seen before.

        They must be acquired only if the key is valid.
        """
        limits = self._limits_of_keys.get(_key_digest(key))
        return self._token_cache.plan_requests(limits) if limits else ()

    def consume(
        self,
        connection: Connection,
        caller: AuthenticatedKey,
        key: str,
        acquired: AcquiredTokens | None = None,
    ) -> tuple[LimitStatus, ...]:
        """Count one request of a valid key. Raises RateLimited.

        `acquired` are the tokens that were acquired when the key was looked up.
        """
        key_digest = _key_digest(key)
        limits = self._limits_of_keys.get(key_digest)
        if limits is None:
            limits = self._caller_limits(caller)
            _remember(self._limits_of_keys, _MAX_KNOWN_KEYS, key_digest, limits)
        if not limits:
            return ()
        try:
            return self._token_cache.spend(connection, limits, acquired)
        except RateLimited:
            _remember(self._rejected_keys, _MAX_REJECTED_KEYS, key_digest, limits)
            raise

    def check_client(self, client_key: str) -> None:
        """Reject a client that is known to have too many failures. Raises RateLimited."""
        self._token_cache.check(self._client_limits(client_key))

    def record_failure(self, connection: Connection, client_key: str) -> None:
        """Count one failure of a client address. Raises RateLimited."""
        self._token_cache.spend(connection, self._client_limits(client_key))

    def delay_rejection(self, limit: Limit) -> None:
        """Delay a rejection to the limit's refill rate, if a thread is free for that."""
        if self._rejection_slots.acquire(blocking=False):
            try:
                self._wait(self._token_cache.rejection_delay_s(limit))
            finally:
                self._rejection_slots.release()

    def client_key(self) -> str:
        """Return the address that the current request's failures count against."""
        forwarded_for = request.headers.get("X-Forwarded-For", "")
        return client_ip.client_ip(request.remote_addr, forwarded_for, self._config.trusted_proxies)

    def _caller_limits(self, caller: AuthenticatedKey) -> list[Limit]:
        """Return a caller's limits, always the key before its tenant: see `buckets.acquire`."""
        config = self._config
        rate = config.platform_key if caller.is_platform else config.key
        candidates = [("key", caller.key_id, rate), ("tenant", caller.tenant_id, config.tenant)]
        return [
            Limit(name, bucket, rate, round(rate * config.window_s))
            for name, bucket, rate in candidates
            if bucket is not None and rate
        ]

    def _client_limits(self, client_key: str) -> list[Limit]:
        failures = self._config.failures
        if not failures:
            return []
        address_hash = crypto.keyed_hash(f"addresses|{self._config.secret}", client_key)[
            :_ADDRESS_HASH_BYTES
        ]
        bucket = UUID(bytes=_ADDRESS_BUCKET_PREFIX + address_hash)
        return [Limit("address", bucket, failures / _MINUTE_S, failures, unit="failures")]


def install(app: Flask, config: RateLimitConfig) -> None:
    """Limit the app's requests, and add the state of the limits to responses."""
    app.extensions["limiter"] = Limiter(config)
    app.register_error_handler(RateLimited, _rate_limited)
    app.after_request(_add_limit_headers)


def current_limiter() -> Limiter:
    """Return the app's limiter."""
    limiter: Limiter = current_app.extensions["limiter"]
    return limiter


def check_key(key: str) -> None:
    """Reject a key that is known to be over its limit. Raises RateLimited."""
    current_limiter().check_key(key)


def plan_requests(key: str) -> TokenRequests:
    """Return the tokens to acquire while the key is looked up, if it is valid."""
    return current_limiter().plan_requests(key)


def consume(
    connection: Connection, caller: AuthenticatedKey, key: str, acquired: AcquiredTokens | None
) -> None:
    """Count a request of a valid key; `acquired` are the planned tokens. Raises RateLimited."""
    g.standings = current_limiter().consume(connection, caller, key, acquired)


def record_auth_failure(connection: Connection) -> None:
    """Count a bad key. Raises RateLimited if its client had too many failures."""
    limiter = current_limiter()
    limiter.record_failure(connection, limiter.client_key())


def record_client_failure() -> None:
    """Count a bad signature or token. Raises RateLimited if its client had too many failures.

    If the database is unavailable, nothing is counted: the request is rejected in any case.
    """
    limiter = current_limiter()
    client_key = limiter.client_key()
    limiter.check_client(client_key)
    try:
        with current_services().database.connection() as connection:
            limiter.record_failure(connection, client_key)
    except DatabaseFailure as error:
        log.get_logger().warning("limits.not_counted", exc_info=error)


def _remember(
    limits_of_keys: dict[bytes, Sequence[Limit]],
    max_keys: int,
    key_digest: bytes,
    limits: Sequence[Limit],
) -> None:
    if len(limits_of_keys) >= max_keys and key_digest not in limits_of_keys:
        limits_of_keys.clear()
    limits_of_keys[key_digest] = limits


def _key_digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _rate_limited(error: RateLimited) -> Response:
    name = error.limit.name
    metrics.RATE_LIMITED.inc(limit=name)
    current_limiter().delay_rejection(error.limit)  # no connection and no lock is held here
    g.standings = error.limit_statuses
    response = problem(error.status, error.problem_code, error.title, error.detail, limit=name)
    response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def _add_limit_headers(response: Response) -> Response:
    statuses: Sequence[LimitStatus] = g.get("standings", ())
    if statuses:
        response.headers[POLICY_HEADER] = ", ".join(
            f'"{status.limit.name}";q={status.limit.burst};w={status.limit.window_s}'
            for status in statuses
        )
        response.headers[STATUS_HEADER] = ", ".join(
            f'"{status.limit.name}";r={status.remaining};t={status.reset_s}' for status in statuses
        )
    return response

"""The idle connections of a client, which its later requests use again."""

import weakref
from collections import deque
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from math import inf
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from vca.kit.addresses import Address

if TYPE_CHECKING:
    from vca.kit.http.network import GuardedStream


@dataclass(frozen=True, eq=False)
class _IdleStream:
    key: Hashable
    stream: "GuardedStream"
    since: float
    usable_until: float

    def is_usable(self, *, settle_s: float) -> bool:
        """Return whether it is neither too old nor closed by the server.

        A server sends nothing between two responses, so data means that something is wrong.
        """
        now = monotonic()
        wait_s = max(0.0, self.since + settle_s - now)
        return now < self.usable_until and not self.stream.is_readable(wait_s=wait_s)


class StreamPool:
    """Keeps idle connections by key, and closes those that are too old or too many; thread-safe.

    A connection is used again for `max_idle_s` after its last use, and only until it is `max_age_s`
    old. The latest one is used first, so that those of a peak grow old. It must have been idle for
    `settle_s`: some servers close a connection after each response without saying so.
    """

    def __init__(
        self,
        *,
        max_idle_s: float,
        max_age_s: float = inf,
        max_idle: int | None = None,
        settle_s: float = 0.0,
    ) -> None:
        self._max_idle_s = max_idle_s
        self._max_age_s = max_age_s
        self._max_idle = max_idle
        self._settle_s = settle_s
        self._idle: deque[_IdleStream] = deque()
        self._lock = Lock()
        self._is_closed = False
        weakref.finalize(self, _close_all, self._idle)

    def take(
        self, key: Hashable, addresses: Collection[Address] | None = None
    ) -> "GuardedStream | None":
        """Return an idle connection with this key, or None; closes those that are not usable.

        If `addresses` are given, the connection goes to one of them.
        """
        while True:
            with self._lock:
                matching_streams = (
                    idle
                    for idle in reversed(self._idle)
                    if idle.key == key and (addresses is None or idle.stream.address in addresses)
                )
                latest = next(matching_streams, None)
                if latest is None:
                    return None
                self._idle.remove(latest)
            if latest.is_usable(settle_s=self._settle_s):
                return latest.stream
            latest.stream.close()

    def put(self, key: Hashable, stream: "GuardedStream", *, max_idle_s: float = inf) -> None:
        """Keep a connection for later requests, and close those that have become too old.

        `max_idle_s` is how long the server keeps the connection open, if it says so.
        """
        now = monotonic()
        usable_until = min(
            stream.opened_at + self._max_age_s, now + min(max_idle_s, self._max_idle_s)
        )
        with self._lock:
            until = now if self._is_closed else usable_until
            self._idle.append(_IdleStream(key, stream, now, until))
            closing = deque(idle for idle in self._idle if idle.usable_until <= now)
            for idle in closing:
                self._idle.remove(idle)
            while self._max_idle is not None and len(self._idle) > self._max_idle:
                closing.append(self._idle.popleft())
        _close_all(closing)

    def close(self) -> None:
        """Close the idle connections, and those in use when their exchange ends."""
        with self._lock:
            self._is_closed = True
            closing = self._idle.copy()
            self._idle.clear()
        _close_all(closing)


def _close_all(streams: deque[_IdleStream]) -> None:
    while streams:
        streams.popleft().stream.close()

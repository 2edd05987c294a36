"""Admission: limit how many requests of one kind are in progress in a process, and of one owner.

Each of them holds a place. A place is taken without waiting, and a request that finds none is
refused at once: while it waited, it would hold the thread that the limit is meant to keep free.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from vca.kit.errors import DomainError

RETRY_AFTER_S = 1
# The `limit` in the problem document of a refusal.
LIMIT_NAME = "busy"


class Busy(DomainError):
    """All places of the process, or all places that one owner may take, are in use."""

    status = 429
    code = "busy"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, retry_after_s=RETRY_AFTER_S, members={"limit": LIMIT_NAME})


def _ignore(*observed: object) -> None:
    """Ignore an event."""


@dataclass(frozen=True)
class AdmissionObserver:
    """Functions to call with the name of an admission for what happens to its places.

    `on_refusal` is called for each refusal, and `on_use` for each place that is taken (1) or given
    back (-1).
    """

    on_refusal: Callable[[str], None] = _ignore
    on_use: Callable[[str, int], None] = _ignore


class Admission:
    """The places of one process for one kind of work.

    `places` may be taken at once, and `places_per_owner` of them by one owner. `name` labels the
    metrics, and `refusal` is the detail of the error.
    """

    def __init__(
        self,
        name: str,
        *,
        places: int,
        places_per_owner: int | None = None,
        refusal: str,
        observer: AdmissionObserver | None = None,
    ) -> None:
        self.name = name
        self._observer = observer or AdmissionObserver()
        self._places = places
        self._places_per_owner = places if places_per_owner is None else places_per_owner
        self._refusal = refusal
        self._lock = Lock()
        self._places_by_owner: Counter[Hashable] = Counter()
        self._in_use = 0

    @property
    def in_use(self) -> int:
        """The number of places that are taken now."""
        return self._in_use

    def take(self, owner: Hashable) -> Callable[[], None]:
        """Take a place and return the function that gives it back, which has effect once.

        Raises Busy without waiting.
        """
        with self._lock:
            is_full = self._in_use >= self._places
            is_refused = is_full or self._places_by_owner[owner] >= self._places_per_owner
            if not is_refused:
                self._in_use += 1
                self._places_by_owner[owner] += 1
            elif not self._places_by_owner[owner]:
                del self._places_by_owner[owner]
        if is_refused:
            self._observer.on_refusal(self.name)
            raise Busy(self._refusal)
        self._observer.on_use(self.name, 1)
        given_back = Lock()

        def give_back() -> None:
            if given_back.acquire(blocking=False):
                self._give_back(owner)

        return give_back

    @contextmanager
    def place(self, owner: Hashable) -> Iterator[None]:
        """Hold a place for the block. Raises Busy without waiting."""
        give_back = self.take(owner)
        try:
            yield
        finally:
            give_back()

    def _give_back(self, owner: Hashable) -> None:
        with self._lock:
            self._in_use -= 1
            self._places_by_owner[owner] -= 1
            if not self._places_by_owner[owner]:
                del self._places_by_owner[owner]
        self._observer.on_use(self.name, -1)

"""The pool of idle connections: whatever the order of requests, a connection fits its request."""

from ipaddress import ip_address
from time import monotonic
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from vca.kit.addresses import Address
from vca.kit.http.network import GuardedStream
from vca.kit.http.pool import StreamPool

ADDRESSES = [ip_address(f"192.0.2.{number}") for number in range(3)]


class FakeStream:
    """A connection without a socket."""

    def __init__(self, key: str, address: Address) -> None:
        self.key, self.address, self.opened_at = key, address, monotonic()
        self.is_closed = self.is_in_use = self.is_broken = False

    def is_readable(self, *, wait_s: float) -> bool:
        return self.is_broken

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True


_ACTIONS = st.tuples(
    st.sampled_from(["request", "request", "return", "break"]),
    st.sampled_from(["acme", "globex"]),
    st.sets(st.sampled_from(ADDRESSES), min_size=1),
)


@given(actions=st.lists(_ACTIONS, max_size=60), max_idle=st.integers(1, 4))
def test_a_connection_has_one_user_with_its_key_and_an_allowed_address(
    actions: list[tuple[str, str, set[Address]]], max_idle: int
) -> None:
    pool = StreamPool(max_idle_s=1e6, max_idle=max_idle)
    streams: list[FakeStream] = []
    for action, key, addresses in actions:
        used = [stream for stream in streams if stream.is_in_use]
        if action == "request":
            stream = cast(FakeStream | None, pool.take(key, addresses))
            if stream is None:
                stream = FakeStream(key, min(addresses))
                streams.append(stream)
            assert stream.key == key
            assert stream.address in addresses
            assert not any((stream.is_in_use, stream.is_closed, stream.is_broken))
            stream.is_in_use = True
        elif action == "return" and used:
            used[0].is_in_use = False
            pool.put(used[0].key, cast(GuardedStream, used[0]))
        elif action == "break" and streams:
            streams[-1].is_broken = not streams[-1].is_in_use
        idle = [stream for stream in streams if not (stream.is_in_use or stream.is_closed)]
        assert len(idle) <= max_idle
        assert not any(stream.is_in_use and stream.is_closed for stream in streams)
    pool.close()
    assert all(stream.is_closed or stream.is_in_use for stream in streams)


def test_the_connections_of_a_pool_that_nobody_uses_any_more_are_closed() -> None:
    pool = StreamPool(max_idle_s=1e6)
    stream = FakeStream("acme", ADDRESSES[0])
    pool.put("acme", cast(GuardedStream, stream))

    del pool

    assert stream.is_closed

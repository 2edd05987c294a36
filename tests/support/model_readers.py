"""Which threads read a model at the moment."""

import sys
from time import monotonic, sleep
from types import FrameType

from vca.conversation.stream_reader import StreamReader

_READ_CODE = StreamReader._read.__code__


def reader_count() -> int:
    """Return how many threads read a model; their pool keeps idle ones."""
    count = 0
    for frame in sys._current_frames().values():
        caller: FrameType | None = frame
        while caller is not None and caller.f_code is not _READ_CODE:
            caller = caller.f_back
        count += caller is not None
    return count


def readers_end(within_s: float) -> bool:
    """Wait until no thread reads a model; return False if one still does."""
    ends_at = monotonic() + within_s
    while reader_count():
        if monotonic() > ends_at:
            return False
        sleep(0.01)
    return True

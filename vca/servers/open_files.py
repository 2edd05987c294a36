"""The limit of open files of the server's processes. Each connection is an open file."""

import resource

# More than any process needs. Some programs take time for each possible file when they start.
_MAX_FILES = 65_536
# What a process has open beside its clients' connections: the database, models, logs, metrics.
RESERVED_FILES = 256


def raise_limit() -> int:
    """Raise the limit of this process and of its future children as far as allowed; return it.

    Systems often allow 1,024 files at first, and many more to a program that asks for them.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft == resource.RLIM_INFINITY or soft >= allowed:
        return _MAX_FILES if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


def max_connections(limit: int, preferred: int) -> int:
    """Return how many connections a process with this limit of open files may have."""
    return max(1, min(preferred, limit - RESERVED_FILES))

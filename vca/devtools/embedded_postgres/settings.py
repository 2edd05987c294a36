"""The server's settings: a small server for development and tests, with many schemas."""

import sys
from collections.abc import Mapping
from pathlib import Path

from vca.devtools.embedded_postgres.server import PORT

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    # The 0700 directories protect the socket, so its authentication is `trust`. With `peer`, root
    # would have to be mapped to the service account, and the account to several logins.
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    # Dropping one schema takes a lock for each of its tables, indexes and sequences.
    "max_locks_per_transaction": "256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # One file per weekday, overwritten a week later.
    "logging_collector": "on",
    "log_filename": "server-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


def postgres_arguments(
    *, socket_dir: Path, log_dir: Path, extra_settings: Mapping[str, str]
) -> list[str]:
    """Return the settings as arguments of `postgres`, so that changes apply to old data too.

    `extra_settings` of the caller are added, or replace the settings of the same name.
    """
    settings = SETTINGS | {
        "unix_socket_directories": str(socket_dir),
        "log_directory": str(log_dir),
    }
    if sys.platform == "linux":
        # After a crash with thousands of schemas, one system call instead of opening every file:
        # 0.7 s instead of 42 s.
        settings["recovery_init_sync_method"] = "syncfs"
    settings |= extra_settings
    return [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]

"""The server's log files: one from before its log collector started, then one per weekday."""

from pathlib import Path

from vca.devtools.embedded_postgres.server import Server

TAIL_LINES = 10


def latest_log_file(server: Server) -> Path:
    """Return the file that was written last."""
    return max(_log_files(server), key=_modified_at_ns, default=server.log_dir / "launch.log")


def last_lines(server: Server) -> str:
    """Return the last lines of the log, oldest first; empty if there are none."""
    files = sorted(_log_files(server), key=_modified_at_ns)[-2:]
    lines = [line for file in files for line in file.read_text(errors="replace").splitlines()]
    return "\n".join(lines[-TAIL_LINES:])


def _log_files(server: Server) -> list[Path]:
    return list(server.log_dir.glob("*.log"))


def _modified_at_ns(path: Path) -> int:
    return path.stat().st_mtime_ns

"""The server's log: what it said before its collector began, then a file per day of the week."""

from pathlib import Path

from vca.kit.embedded.server import Server

LINES = 10


def current(server: Server) -> Path:
    """The file that was written last."""
    return max(_files(server), key=_written_at, default=server.log_dir / "launch.log")


def last_lines(server: Server) -> str:
    """The last lines of the log, oldest first, empty if there are none."""
    files = sorted(_files(server), key=_written_at)[-2:]
    lines = [line for file in files for line in file.read_text(errors="replace").splitlines()]
    return "\n".join(lines[-LINES:])


def _files(server: Server) -> list[Path]:
    return list(server.log_dir.glob("*.log"))


def _written_at(path: Path) -> int:
    return path.stat().st_mtime_ns

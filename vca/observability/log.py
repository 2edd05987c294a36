"""Structured logs: one JSON object per line, with the ids of the request, without secrets."""

import logging
import re
import sys
import traceback
from typing import Any, TextIO

from vca.kit import json, postgres_errors
from vca.kit.hidden_packages import hide_packages
from vca.kit.phone import mask

with hide_packages("rich"):  # for tracebacks on a console
    import structlog
    from structlog.types import EventDict, ExcInfo, Processor

_NUMBER = re.compile(r"\+[1-9]\d{6,14}")
_KEY = re.compile(r"vca_[A-Za-z0-9_]{16,}")
MAX_VALUE_LENGTH = 2_000


def configure(level: str, *, development: bool = False, stream: TextIO | None = None) -> None:
    """Send structlog and the standard library's loggers to `stream`, one JSON object per line.

    The default stream is stdout. Commands use stderr, because they print their result to stdout.
    """
    stream = stream or sys.stdout
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, _exception_processor(development), _render_line],
        wrapper_class=structlog.make_filtering_bound_logger(level.upper()),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _exception_processor(development),
                _render_line,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the logger; context variables add the ids of the request."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def alarm(event: str, **facts: Any) -> None:
    """Log an event that must never happen and needs immediate attention."""
    get_logger().critical(event, alarm=True, **facts)


def _exception_processor(development: bool) -> Processor:
    def add_exception(_: Any, __: str, event: EventDict) -> EventDict:
        info: ExcInfo | bool | None = event.pop("exc_info", None)
        error = _exception_from(info)
        if error is not None:
            event["error"] = describe_exception(error)
            if development:
                event["traceback"] = "".join(traceback.format_exception(error))
        return event

    return add_exception


def _exception_from(info: Any) -> BaseException | None:
    if isinstance(info, BaseException):
        return info
    if isinstance(info, tuple):
        error: BaseException | None = info[1]
        return error
    return sys.exc_info()[1] if info else None


def describe_exception(error: BaseException) -> dict[str, Any]:
    """Return an exception's type and traceback locations, without its message.

    For a database error, add its SQLSTATE and primary message without quoted values. The full text
    quotes the rejected row, which may contain a caller's utterance. An exception may add facts in a
    mapping `log_fields`.
    """
    frames = traceback.extract_tb(error.__traceback__)
    description: dict[str, Any] = {
        "type": type(error).__qualname__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]],
    }
    if postgres_errors.is_driver_error(error):
        description["sqlstate"] = postgres_errors.sqlstate(error)
        description["message"] = postgres_errors.message_without_values(error)
    description |= getattr(error, "log_fields", {})
    if error.__cause__ is not None:
        description["cause"] = describe_exception(error.__cause__)
    return description


def _render_line(_: Any, __: str, event: EventDict) -> str:
    for name, value in event.items():
        if isinstance(value, str) and len(value) > MAX_VALUE_LENGTH:
            event[name] = value[:MAX_VALUE_LENGTH] + "…"
    return redact(json.dumps_lenient(event))


def redact(line: str) -> str:
    """Mask every phone number and cut every API key to its prefix."""
    if "+" in line:
        line = _NUMBER.sub(lambda match: mask(match.group()), line)
    if "vca_" in line:
        line = _KEY.sub(lambda match: match.group()[:12] + "…", line)
    return line

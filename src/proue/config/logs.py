"""Logs: JSON lines on standard error, a request id, no body, no secret."""

import json
import logging
import sys
from datetime import UTC, datetime

from proue.config import environment as env
from proue.kernel.trace import request_id

# Attributes that `extra=` may carry into a line: names and figures, never a body.
EXTRA = (
    "action",
    "clearance",
    "code",
    "count",
    "endpoint",
    "job",
    "model",
    "ms",
    "part",
    "path",
    "status",
    "task",
    "use",
)


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        line |= {name: getattr(record, name) for name in EXTRA if hasattr(record, name)}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    level = env.text("PROUE_LOG_LEVEL", "info").upper()
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise env.BadSetting("PROUE_LOG_LEVEL doit valoir debug, info, warning ou error.")
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("procrastinate", "django.request", "uvicorn.access", "asyncio"):
        logging.getLogger(noisy).setLevel("WARNING")

"""The identifier of the request being served: set where it enters, written on every line of log."""

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")

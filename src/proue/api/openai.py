"""Files and batches as OpenAI's clients read them. What is ours besides is under `proue`."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from proue.api.errors import sentence
from proue.batches.rules import LINE_REFUSALS, State
from proue.kernel.dataclass import DataClass
from proue.kernel.refusal import NotFound

if TYPE_CHECKING:
    from proue.batches.models import Batch, UploadedFile

FILE, BATCH = "file-", "batch_"
HEX = re.compile(r"[0-9a-f]{32}")


def id_of(prefix: str, text: str) -> UUID:
    """Raises NotFound: what is no id of ours names nothing."""
    if text.startswith(prefix) and HEX.fullmatch(text[len(prefix) :]):
        return UUID(text[len(prefix) :])
    raise NotFound("file" if prefix == FILE else "batch")


def file(row: "UploadedFile") -> dict[str, Any]:
    return {
        "id": FILE + row.pk.hex,
        "object": "file",
        "bytes": row.size,
        "created_at": int(row.created_at.timestamp()),
        "expires_at": int(row.expires_at.timestamp()),
        "filename": row.name,
        "purpose": row.purpose,
        "status": "processed",
        "proue": {"data_class": DataClass(row.data_class).code},
    }


def deleted(row: "UploadedFile") -> dict[str, Any]:
    return {"id": FILE + row.pk.hex, "object": "file", "deleted": True}


def batch(row: "Batch") -> dict[str, Any]:
    ended = {State.COMPLETED: "completed_at", State.FAILED: "failed_at", State.EXPIRED: "expired_at",
             State.CANCELLED: "cancelled_at"}.get(State(row.state), "")  # fmt: skip
    dates: dict[str, datetime | None] = {
        "created_at": row.created_at,
        "in_progress_at": row.in_progress_at,
        "expires_at": row.deadline,
        "finalizing_at": row.finalizing_at,
        "cancelling_at": row.cancelling_at,
        **dict.fromkeys(("completed_at", "failed_at", "expired_at", "cancelled_at")),
    }
    if ended:
        dates[ended] = row.ended_at
    return {
        "id": BATCH + row.pk.hex,
        "object": "batch",
        "endpoint": row.endpoint,
        "errors": {"object": "list", "data": [_error(one) for one in row.errors]} if row.errors else None,
        "input_file_id": FILE + row.input_id.hex,
        "completion_window": "24h",
        "status": row.state,
        "output_file_id": FILE + row.output_id.hex if row.output_id else None,
        "error_file_id": FILE + row.error_id.hex if row.error_id else None,
        **{name: int(at.timestamp()) if at else None for name, at in dates.items()},
        "request_counts": {"total": row.total, "completed": row.completed, "failed": row.failed},
        "metadata": row.metadata or None,
        "proue": {
            "data_class": DataClass(row.data_class).code,
            "next_run_at": int(row.next_run_at.timestamp()) if row.next_run_at else None,
        },
    }


def _error(said: Mapping[str, Any]) -> dict[str, Any]:
    refusal = LINE_REFUSALS[said["code"]](**said["details"])
    return {"code": said["code"], "line": said["line"], "param": said["param"], "message": sentence(refusal)}


def listed(rows: Sequence[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
    return {"object": "list", "data": rows, "first_id": first, "last_id": last, "has_more": more}

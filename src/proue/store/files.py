"""Bytes under their SHA-256 on the local disk (S3 comes with PROUE_STORAGE_URL). Written whole or not at all."""

import hashlib
import os
import tempfile
from datetime import datetime
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import ProtectedError

from proue.store.access import database
from proue.store.models import StoredFile

MAX_FILE_BYTES = 200 * 1024 * 1024


class Damaged(Exception):
    """The bytes on disk are not those that were stored."""


def _path(digest: str) -> Path:
    return Path(settings.STORAGE_DIR) / digest[:2] / digest


def keep(*, scope_id: UUID, data: bytes, media_type: str, at: datetime) -> StoredFile:
    """Store the bytes once per scope; the same bytes again give the same row."""
    if len(data) > MAX_FILE_BYTES:
        raise ValueError("file larger than MAX_FILE_BYTES")
    digest = hashlib.sha256(data).hexdigest()
    target = _path(digest)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    row, _ = StoredFile.objects.get_or_create(
        scope_id=scope_id, digest=digest, defaults={"size": len(data), "media_type": media_type, "created_at": at}
    )
    return row


def forget(file: StoredFile) -> bool:
    """Whether it went: a file that something else still holds stays. Needs a system task, which sees every scope.

    The bytes go with their last row, once that is committed.
    """
    try:
        with transaction.atomic(using=database()):
            file.delete()
    except ProtectedError:
        return False
    if not StoredFile.objects.filter(digest=file.digest).exists():
        path = _path(file.digest)
        transaction.on_commit(lambda: path.unlink(missing_ok=True), using=database())
    return True


def read(file: StoredFile) -> bytes:
    """Raises Damaged when the disk gave back something else, FileNotFoundError when it gave nothing."""
    data = _path(file.digest).read_bytes()
    if hashlib.sha256(data).hexdigest() != file.digest:
        raise Damaged(file.digest)
    return data

"""Bytes under their SHA-256 on the local disk (S3 comes with PROUE_STORAGE_URL). Written whole or not at all."""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
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
    return keep_blocks(scope_id=scope_id, blocks=(data,), media_type=media_type, at=at)


def keep_blocks(*, scope_id: UUID, blocks: Iterable[bytes], media_type: str, at: datetime) -> StoredFile:
    """The same, block by block: never whole in memory. How much comes is the caller's to bound."""
    root = Path(settings.STORAGE_DIR)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest, size = hashlib.sha256(), 0
    handle, name = tempfile.mkstemp(dir=root)
    try:
        with os.fdopen(handle, "wb") as file:
            for block in blocks:
                digest.update(block)
                size += len(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        target = _path(digest.hexdigest())
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    row, _ = StoredFile.objects.get_or_create(
        scope_id=scope_id,
        digest=digest.hexdigest(),
        defaults={"size": size, "media_type": media_type, "created_at": at},
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


def opened(file: StoredFile) -> BinaryIO:
    """To be read where one likes. Raises as `read` does: the whole is hashed first, a block at a time."""
    path = _path(file.digest)
    with path.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    if digest != file.digest:
        raise Damaged(file.digest)
    return path.open("rb")


def read(file: StoredFile) -> bytes:
    """Raises Damaged when the disk gave back something else, FileNotFoundError when it gave nothing."""
    data = _path(file.digest).read_bytes()
    if hashlib.sha256(data).hexdigest() != file.digest:
        raise Damaged(file.digest)
    return data

"""multipart/form-data, incrementally: sans-io, the same result whatever the cuts of the network.

Strict, since what is read here is decided upon and read again by an engine: two parsers that disagree on which field is
the model would be a way round the policy. So the form is written anew: each part's head is made from what was
understood of it, and `model` goes first, under the engine's own name. A file's name, which may say whose voice it is,
stays here; its extension goes.
"""

import re
from enum import StrEnum

from proue.gateway.errors import GatewayError

HEAD_MAX = 8 * 1024  # bytes of one part's head
FIELD_MAX = 64 * 1024  # bytes of a field that is no file
PARTS_MAX = 64

CONTENT_TYPE = re.compile(r'multipart/form-data\s*;\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))\s*', re.IGNORECASE)
BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=?-]{1,70}")
DISPOSITION = re.compile(
    rb'form-data;[ \t]*name="([A-Za-z0-9_.\[\]-]{1,64})"'
    rb'(?:;[ \t]*filename="((?:[^"\\\r\n]|\\.)*)")?(?:;[ \t]*filename\*=[^;"\r\n]*)?[ \t]*',
    re.IGNORECASE,
)
KIND = re.compile(rb"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:;[ \t]*[A-Za-z0-9_-]+=[A-Za-z0-9_.-]+)*")
EXTENSION = re.compile(rb"\.([A-Za-z0-9]{1,8})$")
PLAIN = frozenset({b"binary", b"8bit", b"7bit"})


def boundary(content_type: str) -> bytes:
    """Raises GatewayError."""
    found = CONTENT_TYPE.fullmatch(content_type.strip())
    name = (found[1] or found[2]) if found else ""
    if not BOUNDARY.fullmatch(name):
        raise GatewayError("form.malformed")
    return name.encode()


class Where(StrEnum):
    START = "start"
    HEAD = "head"
    FIELD = "field"
    FILE = "file"
    END = "end"


class Form:
    """`feed` gives what may be sent on now: every part but `model`, which `first` writes."""

    def __init__(self, boundary: bytes) -> None:
        self.boundary = boundary
        self._delimiter = b"\r\n--" + boundary
        self._held = b"\r\n"  # the first delimiter has no line before it
        self._where = Where.START
        self._name = b""
        self._head = b""
        self._field: list[bytes] = []
        self._field_size = 0
        self._parts = 0
        self._out: list[bytes] = []
        self.model: str | None = None
        self.has_file = False

    @property
    def ended(self) -> bool:
        return self._where is Where.END

    def first(self, model: str) -> bytes:
        return self._delimiter[2:] + b'\r\ncontent-disposition: form-data; name="model"\r\n\r\n' + model.encode()

    def last(self) -> bytes:
        return self._delimiter + b"--\r\n"

    def feed(self, data: bytes) -> bytes:
        """Raises GatewayError form.malformed."""
        if self._where is Where.END:  # an epilogue means nothing
            return b""
        self._held += data
        while self._step():
            pass
        out, self._out = b"".join(self._out), []
        return out

    def _step(self) -> bool:
        if self._where is Where.START:
            return self._start()
        if self._where is Where.HEAD:
            return self._read_head()
        if self._where is Where.END:
            self._held = b""
            return False
        return self._read_body()

    def _start(self) -> bool:
        if len(self._held) < len(self._delimiter) + 2:
            if not self._delimiter.startswith(self._held[: len(self._delimiter)]):
                raise GatewayError("form.malformed")
            return False
        if not self._held.startswith(self._delimiter):
            raise GatewayError("form.malformed")
        return self._after_delimiter(len(self._delimiter))

    def _after_delimiter(self, at: int) -> bool:
        """What follows a delimiter says whether a part does."""
        follows = self._held[at : at + 2]
        if follows == b"--":
            self._where = Where.END
        elif follows == b"\r\n":
            self._parts += 1
            if self._parts > PARTS_MAX:
                raise GatewayError("form.malformed")
            self._where = Where.HEAD
        else:
            raise GatewayError("form.malformed")
        self._held = self._held[at + 2 :]
        return True

    def _read_head(self) -> bool:
        end = self._held.find(b"\r\n\r\n", 0, HEAD_MAX)
        if end < 0:
            if len(self._held) >= HEAD_MAX:
                raise GatewayError("form.malformed")
            return False
        self._open(self._held[:end])
        self._held = self._held[end + 4 :]
        return True

    def _open(self, head: bytes) -> None:
        headers: dict[bytes, bytes] = {}
        for line in head.split(b"\r\n"):
            name, colon, value = line.partition(b":")
            name = name.lower()
            if not colon or not name.isascii() or name != name.strip() or name in headers:
                raise GatewayError("form.malformed")
            headers[name] = value.strip()
        found = DISPOSITION.fullmatch(headers.get(b"content-disposition", b""))
        plain = headers.get(b"content-transfer-encoding", b"binary").lower() in PLAIN
        if found is None or not plain:
            raise GatewayError("form.malformed")
        self._name, file = found[1], found[2]
        self._head = self._delimiter + b'\r\ncontent-disposition: form-data; name="' + self._name + b'"'
        if file is None:
            self._where, self._field, self._field_size = Where.FIELD, [], 0
            return
        if self._name == b"model":
            raise GatewayError("form.malformed")
        extension = EXTENSION.search(file)
        kind = headers.get(b"content-type", b"")
        self._out += [
            self._head, b'; filename="audio', b"." + extension[1] if extension else b"", b'"\r\ncontent-type: ',
            kind if KIND.fullmatch(kind) else b"application/octet-stream", b"\r\n\r\n",
        ]  # fmt: skip
        self._where = Where.FILE
        self.has_file = True

    def _read_body(self) -> bool:
        at = self._held.find(self._delimiter)
        if at < 0:
            keep = len(self._delimiter) - 1  # the tail may begin a delimiter
            self._take(self._held[:-keep] if len(self._held) > keep else b"")
            self._held = self._held[-keep:]
            return False
        if len(self._held) < at + len(self._delimiter) + 2:
            self._take(self._held[:at])
            self._held = self._held[at:]
            return False
        self._take(self._held[:at])
        if self._where is Where.FIELD:
            self._close()
        return self._after_delimiter(at + len(self._delimiter))

    def _take(self, data: bytes) -> None:
        if self._where is Where.FILE:
            self._out.append(data)
            return
        self._field_size += len(data)
        if self._field_size > FIELD_MAX:
            raise GatewayError("form.malformed")
        self._field.append(data)

    def _close(self) -> None:
        value = b"".join(self._field)
        if self._name != b"model":
            self._out += [self._head, b"\r\n\r\n", value]
            return
        if self.model is not None:  # which of two an engine keeps, nobody can say
            raise GatewayError("form.malformed")
        try:
            self.model = value.decode()
        except UnicodeError:
            raise GatewayError("form.malformed") from None

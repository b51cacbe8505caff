"""What a file of requests may hold, when its batch runs, and what becomes of a line. Pure: no clock, no I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from proue.kernel.paris import PARIS
from proue.kernel.policy import Operation, opens
from proue.kernel.refusal import Refusal

MB = 1024 * 1024
PURPOSE, OUTPUT = "batch", "batch_output"
MAX_FILE_BYTES = 200 * MB
MAX_LINES = 50_000
MAX_LINE_BYTES = 4 * MB
MAX_CUSTOM_ID = 256
MAX_ERRORS = 100  # of a file that is refused, said by line; the rest is only counted
MAX_METADATA, MAX_METADATA_NAME, MAX_METADATA_VALUE = 16, 64, 512
MAX_NAME = 255
MAX_ACTIVE = 20  # batches of one use that are not over
MAX_FILES = 1000  # files of one use
WINDOW = timedelta(hours=24)
KEPT = timedelta(days=30)
KEPT_LEAST = timedelta(hours=1)
WHEN = "proue.when"  # in the metadata: "now" waits for no quiet hour

ENDPOINTS: Mapping[str, Operation] = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/completions": Operation.TEXT_COMPLETION,
    "/v1/embeddings": Operation.EMBEDDINGS,
    "/v1/responses": Operation.CHAT,
}


class State(StrEnum):
    """OpenAI's words."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


OVER = frozenset({State.FAILED, State.COMPLETED, State.EXPIRED, State.CANCELLED})
CANCELLABLE = frozenset({State.VALIDATING, State.IN_PROGRESS})


class LineState(StrEnum):
    WAITING = "waiting"
    DONE = "done"  # answered with success
    FAILED = "failed"  # refused for good, or tried too often


# --- refusals


class PurposeUnknown(Refusal):
    code = "file.purpose_unknown"


class FileMissing(Refusal):
    code = "file.missing"


class FileEmpty(Refusal):
    code = "file.empty"


class FileTooLarge(Refusal):
    code = "file.too_large"


class FileInUse(Refusal):
    code = "file.in_use"


class TooManyFiles(Refusal):
    code = "file.too_many"


class BadExpiry(Refusal):
    code = "file.bad_expiry"


class FileUnknown(Refusal):
    code = "batch.file_unknown"


class EndpointUnknown(Refusal):
    code = "batch.endpoint_unknown"


class EndpointClosed(Refusal):
    code = "batch.endpoint_closed"


class WindowUnknown(Refusal):
    code = "batch.window_unknown"


class BadMetadata(Refusal):
    code = "batch.bad_metadata"


class TooManyBatches(Refusal):
    code = "batch.too_many"


class NotCancellable(Refusal):
    code = "batch.not_cancellable"


class LineRefused(Refusal):
    """Of one line of a file, or of the whole: `line` is None then."""

    code = "batch.line_refused"
    line: int | None = None
    param: str | None = None


class NoLine(LineRefused):
    code = "batch.no_line"


class TooManyLines(LineRefused):
    code = "batch.too_many_lines"


class LineTooLong(LineRefused):
    code = "batch.line_too_long"


class LineNotJson(LineRefused):
    code = "batch.line_not_json"


class LineCustomId(LineRefused):
    code = "batch.line_custom_id"
    param = "custom_id"


class LineRepeated(LineRefused):
    code = "batch.line_repeated"
    param = "custom_id"


class LineMethod(LineRefused):
    code = "batch.line_method"
    param = "method"


class LineUrl(LineRefused):
    code = "batch.line_url"
    param = "url"


class LineBody(LineRefused):
    code = "batch.line_body"
    param = "body"


class LineModel(LineRefused):
    code = "batch.line_model"
    param = "body.model"


class LineStream(LineRefused):
    code = "batch.line_stream"
    param = "body.stream"


class FileGone(LineRefused):
    code = "batch.file_gone"


LINE_REFUSALS: Mapping[str, type[LineRefused]] = {
    one.code: one
    for one in (
        NoLine, TooManyLines, LineTooLong, LineNotJson, LineCustomId, LineRepeated, LineMethod, LineUrl, LineBody,
        LineModel, LineStream, FileGone,
    )
}  # fmt: skip


# --- what comes with a request


def check_purpose(purpose: str) -> None:
    if purpose != PURPOSE:
        raise PurposeUnknown(purpose=purpose)


def kept_until(at: datetime, seconds: int | None) -> datetime:
    """`expires_after`, in seconds; thirty days at most, and when nothing is said."""
    wanted = KEPT if seconds is None else timedelta(seconds=min(max(seconds, 0), 10**9))
    if not KEPT_LEAST <= wanted <= KEPT:
        raise BadExpiry(least=int(KEPT_LEAST.total_seconds()), longest=int(KEPT.total_seconds()))
    return at + wanted


def operation_of(endpoint: str) -> Operation:
    try:
        return ENDPOINTS[endpoint]
    except KeyError:
        raise EndpointUnknown(endpoint=endpoint, known=sorted(ENDPOINTS)) from None


def check_window(window: str) -> None:
    if window != "24h":
        raise WindowUnknown(window=window)


def check_metadata(metadata: Mapping[str, str]) -> None:
    fits = len(metadata) <= MAX_METADATA and all(
        len(name) <= MAX_METADATA_NAME and len(value) <= MAX_METADATA_VALUE for name, value in metadata.items()
    )
    if not fits:
        raise BadMetadata(most=MAX_METADATA, name=MAX_METADATA_NAME, value=MAX_METADATA_VALUE)


# --- lines of a file


class Line(msgspec.Struct, frozen=True):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _Body(msgspec.Struct, frozen=True):
    model: str
    stream: bool | None = None


_line = msgspec.json.Decoder(Line)
_body = msgspec.json.Decoder(_Body)


@dataclass(frozen=True, slots=True)
class Placed:
    """A line that may run, and where its text is in the file."""

    custom_id: str
    start: int
    size: int


class Reading:
    """Reads a file line by line; says all that is wrong with it, up to MAX_ERRORS."""

    def __init__(self, *, endpoint: str, models: frozenset[str]) -> None:
        self._endpoint = endpoint
        self._models = models
        self._seen: set[str] = set()
        self._number = 0
        self._start = 0
        self.placed: list[Placed] = []
        self.errors: list[LineRefused] = []
        self.refused = 0

    def feed(self, text: bytes) -> bool:
        """One line with its end; False once nothing more is worth reading. One that is too long comes cut."""
        start, self._start = self._start, self._start + len(text)
        self._number += 1
        if not text.strip():
            return True
        if len(self.placed) + self.refused >= MAX_LINES:
            self.refuse(TooManyLines(most=MAX_LINES))
            return False
        if len(text) > MAX_LINE_BYTES:
            self._refuse(LineTooLong(most=MAX_LINE_BYTES // MB))
            return True
        try:
            self.placed.append(Placed(self._read(text), start, len(text)))
        except LineRefused as refusal:
            self._refuse(refusal)
        return True

    def skip(self, size: int) -> None:
        """The rest of a line that was too long."""
        self._start += size

    def end(self) -> None:
        if not self.placed and not self.refused:
            self.refuse(NoLine())

    def refuse(self, refusal: LineRefused) -> None:
        """Of the whole file."""
        self.refused += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(refusal)

    def _refuse(self, refusal: LineRefused) -> None:
        refusal.line = self._number
        self.refuse(refusal)

    def _read(self, text: bytes) -> str:
        try:
            line = _line.decode(text)
        except msgspec.ValidationError as error:
            raise _missing(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise LineNotJson from None
        if not 1 <= len(line.custom_id) <= MAX_CUSTOM_ID or "\x00" in line.custom_id:
            raise LineCustomId(most=MAX_CUSTOM_ID)
        if line.custom_id in self._seen:
            raise LineRepeated(custom_id=line.custom_id)
        self._seen.add(line.custom_id)
        if line.method != "POST":
            raise LineMethod(method=line.method)
        if line.url != self._endpoint:
            raise LineUrl(url=line.url, endpoint=self._endpoint)
        try:
            body = _body.decode(line.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise LineBody from None
        if body.stream:
            raise LineStream
        if body.model not in self._models:
            raise LineModel(model=body.model)
        return line.custom_id


def _missing(said: str) -> LineRefused:
    for name, refusal in (("custom_id", LineCustomId(most=MAX_CUSTOM_ID)), ("method", LineMethod(method="")),
                          ("url", LineUrl(url="", endpoint="")), ("body", LineBody())):  # fmt: skip
        if f"`{name}`" in said or f"`$.{name}`" in said:
            return refusal
    return LineNotJson()


def names_open(models: Sequence[str], offered: Iterable[str], aliases: Mapping[str, str]) -> frozenset[str]:
    """Of the `offered` models, and of the `aliases` (name → model) of one: a use opens an alias by either name."""

    known = frozenset(offered)
    own = frozenset(name for name in known if opens(models, name))
    return own | {name for name, model in aliases.items() if model in own or (model in known and opens(models, name))}


def body_of(text: bytes) -> bytes:
    """What is sent, byte for byte as it came."""
    return bytes(_line.decode(text).body)


# --- when


@dataclass(frozen=True, slots=True)
class Quiet:
    """Hours of Paris in which batches run: a span may pass midnight; Saturdays and Sundays whole when `weekends`."""

    spans: tuple[tuple[time, time], ...] = ((time(20), time(7)),)
    weekends: bool = True
    always: bool = False

    def holds(self, at: datetime) -> bool:
        local = at.astimezone(PARIS)
        if self.always or (self.weekends and local.weekday() >= 5):
            return True
        clock = local.time()
        return any(begin <= clock < end if begin < end else clock >= begin or clock < end for begin, end in self.spans)

    def next(self, at: datetime) -> datetime | None:
        """The first quiet instant from `at` on, within the window; None: there is none."""
        if self.holds(at):
            return at
        # Walked in hours of UTC that elapse: the days on which clocks change need no thought.
        instant = at.astimezone(UTC).replace(second=0, microsecond=0)
        for _ in range(int(WINDOW / STEP)):
            instant += STEP
            if self.holds(instant):
                return instant
        return None


STEP = timedelta(minutes=1)
NOW = Quiet(always=True)


class BadHours(ValueError):
    """Not « 20:00-07:00,weekend »."""


def quiet_from(text: str) -> Quiet:
    """« 20:00-07:00,12:00-16:00,weekend », « always ». Raises BadHours."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["always"]:
        return NOW
    spans = []
    for word in words:
        if word == "weekend":
            continue
        begin, _, end = word.partition("-")
        try:
            span = (time.fromisoformat(begin.strip()), time.fromisoformat(end.strip()))
        except ValueError:
            raise BadHours(word) from None
        if span[0] == span[1] or any(one.tzinfo for one in span):
            raise BadHours(word)
        spans.append(span)
    if not words:
        raise BadHours(text)
    return Quiet(spans=tuple(spans), weekends="weekend" in words)


LINE_S = 3.0  # of one line, before this batch has shown its own pace
MARGIN = timedelta(hours=1)
PRESSED = 2.0  # a batch begins when what is left of its window is this many times what it needs, whatever the hour


def runs_from(
    *, at: datetime, deadline: datetime, left: int, seconds_per_line: float | None, concurrency: int, quiet: Quiet
) -> datetime:
    """At once when the hour is quiet or the window presses, else the first of both. Never after the deadline."""
    needed = timedelta(seconds=left * (seconds_per_line or LINE_S) / max(concurrency, 1))
    pressed = deadline - MARGIN - needed * PRESSED
    first = min(quiet.next(at) or pressed, pressed)
    return max(at, min(first, deadline))


# --- what becomes of a line

MAX_ATTEMPTS = 12
WAIT_FIRST = timedelta(seconds=2)
WAIT_MOST = timedelta(minutes=10)
BUSY = frozenset({429, 503})
PASSING = BUSY | {408, 409, 500, 502, 504}
OK = 200
EXHAUSTED = "budget.exhausted"
CUT, UNREACHED = 0, -1  # the connection ended before an answer; it was never made, and nothing was asked


@dataclass(frozen=True, slots=True)
class Answered:
    """What the gateway said of one line. `definitive`: it must not be asked again, not even later."""

    status: int
    body: bytes = b""
    request_id: str = ""
    retry_after: float | None = None  # seconds
    definitive: bool = False
    code: str = ""  # of our own refusals

    @property
    def awaits_budget(self) -> bool:
        """Nothing was tried: it is early. What binds this line binds the others of its batch."""
        return self.code == EXHAUSTED and self.retry_after is not None


@dataclass(frozen=True, slots=True)
class Fate:
    """`state` WAITING: again from `not_before`, after `attempts`."""

    state: LineState
    attempts: int
    not_before: datetime | None = None


def fate(answered: Answered, *, attempts: int, at: datetime) -> Fate:
    """A machine that is full is asked again later, a budget when it is renewed; what is refused for good is that line's
    error."""
    if answered.awaits_budget and answered.retry_after is not None:
        return Fate(LineState.WAITING, attempts, at + timedelta(seconds=answered.retry_after))
    tried = attempts + 1
    if answered.status == OK:
        return Fate(LineState.DONE, tried)
    passes = answered.status == CUT or (answered.status in PASSING and not answered.definitive)
    if not passes or tried >= MAX_ATTEMPTS:
        return Fate(LineState.FAILED, tried)
    grown = WAIT_FIRST * 2 ** min(attempts, 20)
    told = timedelta(seconds=max(answered.retry_after or 0.0, 0.0))
    return Fate(LineState.WAITING, tried, at + min(max(grown, told), WAIT_MOST))


class Pace:
    """How many lines at once: one more for each that passes, half as many when the machines are full."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._allowed = float(most)

    @property
    def allowed(self) -> int:
        return max(int(self._allowed), 1)

    def told(self, status: int) -> None:
        if status in BUSY:
            self._allowed = max(self._allowed / 2, 1.0)
        elif status == OK:
            self._allowed = min(self._allowed + 1 / max(self._allowed, 1.0), float(self._most))


# --- the two files that come out


def output_line(id: str, custom_id: str, status: int, request_id: str, body: bytes) -> bytes:
    response = {"status_code": status, "request_id": request_id, "body": _shown(body)}
    return msgspec.json.encode({"id": id, "custom_id": custom_id, "response": response, "error": None}) + b"\n"


def unrun_line(id: str, custom_id: str, code: str, message: str) -> bytes:
    error = {"code": code, "message": message}
    return msgspec.json.encode({"id": id, "custom_id": custom_id, "response": None, "error": error}) + b"\n"


def _shown(body: bytes) -> Any:
    """As the engine wrote it; on one line, since JSON's own breaks would cut the file's."""
    try:
        msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body.decode("utf-8", "replace")
    return msgspec.Raw(body.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in body or b"\r" in body else body)


# Of a line that did not run: OpenAI's code, and the sentence beside it.
UNRUN: Mapping[State, tuple[str, str]] = {
    State.CANCELLED: ("batch_cancelled", "Le lot a été annulé avant cette requête."),
    State.EXPIRED: ("batch_expired", "Cette requête n’a pas pu être faite dans le délai du lot."),
}

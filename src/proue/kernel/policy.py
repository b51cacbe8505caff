"""Where may this request go? Pure: no clock, no I/O. Fails closed: what cannot be decided is refused.

Both planes ask the same function: the gateway for each request and again for each fallback, the portal to say
beforehand where a question would go.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

import msgspec

from proue.kernel.dataclass import DataClass

ANY_MODEL = "*"


class Shield(StrEnum):
    """What happens to personal data found in a request that would leave for a machine not cleared for it."""

    ALLOW = "allow"
    MASK = "mask"
    BLOCK = "block"
    CLEARED_ONLY = "cleared-only"


class Sharing(StrEnum):
    """For whom an endpoint works, as its owner decided."""

    ANY = "any"
    PRIVATE_FIRST = "private-first"  # the owner's requests pass first; others borrow what is idle
    PRIVATE_ONLY = "private-only"


OPEN = (Sharing.ANY.value, Sharing.PRIVATE_FIRST.value)  # to everyone; a word that we do not know is open to its owner


class Priority(StrEnum):
    INTERACTIVE = "interactive"
    BATCH = "batch"  # lets whoever waits for an answer go first


class Operation(StrEnum):
    """OpenTelemetry GenAI operation names where they exist."""

    CHAT = "chat"
    TEXT_COMPLETION = "text_completion"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"
    TRANSCRIPTION = "transcription"


# Nothing is written, so nothing streams. A tuple: an enum's hash is a call of Python's, its identity is not.
SILENT = (Operation.EMBEDDINGS, Operation.RERANK)


class Because(msgspec.Struct, frozen=True):
    """Why a gate is closed: the check, and the way back from it to the need. Codes, which people find in Proue."""

    check: str  # CK-EX-SOV-006-a
    requirement: str
    verdict: str  # kernel.verdict.Verdict
    reason: str  # missing, expired, false…
    clause: str = ""
    need: str = ""
    commitment: str = ""


class Gate(msgspec.Struct, frozen=True):
    """What the contract's checks let one endpoint receive of one data class.

    `closed_by` is why it is closed now. Open, it stays so until `until` (Unix seconds) and is then closed by `then`:
    the gateway needs neither the database nor a clock of ours to close a gate at the instant that was foreseen.
    """

    data_class: int
    checks: tuple[str, ...] = ()  # that hold it open
    closed_by: tuple[Because, ...] = ()
    until: float | None = None
    then: tuple[Because, ...] = ()


class GrantView(Protocol):
    """What a key or a session token allows."""

    @property
    def models(self) -> Sequence[str]: ...
    @property
    def data_class(self) -> int: ...
    @property
    def ceiling(self) -> int: ...
    @property
    def not_before(self) -> float: ...
    @property
    def expires_at(self) -> float | None: ...
    @property
    def operations(self) -> Sequence[str]: ...
    @property
    def institution(self) -> str: ...


class TargetView(Protocol):
    """One endpoint that can serve one model."""

    @property
    def endpoint(self) -> str: ...
    @property
    def clearance(self) -> int: ...
    @property
    def operations(self) -> Sequence[str]: ...
    @property
    def gates(self) -> Sequence[Gate]: ...
    @property
    def owner(self) -> str: ...
    @property
    def sharing(self) -> str: ...


class Admit(msgspec.Struct, frozen=True):
    """`target` is the first of `choices`, all admissible, in the published order: whoever knows more takes another."""

    target: TargetView
    data_class: DataClass
    reserve: int
    reason: str
    choices: tuple[TargetView, ...] = ()

    def on(self, target: TargetView, why: str) -> "Admit":
        """Another of the choices, and who chose it."""
        held = _held_by(target, self.data_class)
        reason = f"{self.reason.partition(';gates=')[0]};chosen={why}"
        reason = f"{reason};gates={held}" if held else reason
        return Admit(target, self.data_class, self.reserve, reason, self.choices)


class Refuse(msgspec.Struct, frozen=True):
    status: int
    code: str
    param: str | None = None
    definitive: bool = True
    because: tuple[Because, ...] = ()  # the clauses that are not kept


def effective_class(grant: GrantView, asked: str | None) -> DataClass | Refuse:
    """The header may only raise the use's class; a word we do not know refuses."""
    try:
        base = DataClass(grant.data_class)
        ceiling = DataClass(grant.ceiling)
    except ValueError:
        return Refuse(403, "class.undecidable")
    if asked is None:
        wanted = base
    else:
        try:
            wanted = max(base, DataClass.from_code(asked))
        except KeyError:
            return Refuse(400, "class.unknown", "x-proue-data-class")
    if wanted > ceiling:
        return Refuse(403, "class.above_use", "x-proue-data-class")
    return wanted


def decide(
    routes: Mapping[str, Sequence[TargetView]],
    grant: GrantView | None,
    *,
    model: str,
    operation: str,
    asked_class: str | None,
    max_tokens: int,
    now: float,
    tried: frozenset[str] = frozenset(),
    floor: DataClass = DataClass.PUBLIC,
    alias: str = "",
    retired: bool = False,
) -> Admit | Refuse:
    """The first admissible target in the published order with all the others, or the refusal.

    `now` is Unix seconds. `tried` names endpoints that already failed for this request: a retry asks again. `floor` is
    what was found in the request: the machine must be cleared for it too, whatever the use declares. `alias` is the
    name that was asked for, when it is not the model's own: a grant opens it by either name. `retired`: the name's
    day has passed.
    """
    if grant is None:
        return Refuse(401, "key.unknown")
    if because := _key_is_wrong(grant, operation, now):
        return because
    targets = routes.get(model)
    if not targets or not (may_use(grant, model) or (alias and may_use(grant, alias))):
        # Same answer for "no such model" and "not yours": the catalogue is not public.
        return Refuse(404, "model.unknown", "model")
    if retired:
        return Refuse(410, "model.retired", "model")
    data_class = effective_class(grant, asked_class)
    if isinstance(data_class, Refuse):
        return data_class
    data_class = max(data_class, floor)
    able = [target for target in targets if operation in target.operations]
    if not able:
        return Refuse(400, "model.operation_not_supported", "model")
    shared = [target for target in able if is_shared(target, grant)]
    if not shared:
        return Refuse(403, "endpoint.private", "model")
    cleared = [target for target in shared if data_class <= target.clearance]
    if not cleared:
        return Refuse(403, "class.above_clearance", "x-proue-data-class")
    fit = [target for target in cleared if not (target.gates and closed_by(target, data_class, now))]
    if not fit:
        return Refuse(403, "policy.gate_closed", "x-proue-data-class", because=_all_because(cleared, data_class, now))
    left = [target for target in fit if target.endpoint not in tried]
    if not left:
        return Refuse(503, "endpoint.none_left", definitive=False)
    reason = f"class={data_class.code};cleared={len(fit)}/{len(able)};tried={len(tried)}"
    held = _held_by(left[0], data_class)
    return Admit(
        target=left[0],
        data_class=data_class,
        reserve=max_tokens,
        reason=f"{reason};gates={held}" if held else reason,
        choices=tuple(left),
    )


def holds_until(grant: GrantView, targets: Sequence[TargetView], now: float) -> float:
    """Until when `decide` says the same of a request alike, were it asked again; Unix seconds, infinite for ever."""
    instants = [gate.until for target in targets for gate in target.gates if gate.until is not None]
    if grant.expires_at is not None:
        instants.append(grant.expires_at)
    return min((instant for instant in instants if instant > now), default=math.inf)


def _key_is_wrong(grant: GrantView, operation: str, now: float) -> Refuse | None:
    if now < grant.not_before:
        return Refuse(401, "key.not_yet_valid")
    if grant.expires_at is not None and now >= grant.expires_at:
        return Refuse(401, "key.expired")
    return None if operation in grant.operations else Refuse(403, "key.operation_not_allowed")


def obstacle(target: TargetView, grant: GrantView, *, operation: str, data_class: int, now: float) -> Refuse | None:
    """Why `decide` would leave this endpoint out, said of it alone; None when it may be chosen. To explain, not to
    decide: a test compares the two."""
    if operation not in target.operations:
        return Refuse(400, "model.operation_not_supported", "model")
    if not is_shared(target, grant):
        return Refuse(403, "endpoint.private", "model")
    if data_class > target.clearance:
        return Refuse(403, "class.above_clearance", "x-proue-data-class")
    because = closed_by(target, data_class, now)
    return Refuse(403, "policy.gate_closed", "x-proue-data-class", because=because) if because else None


def closed_by(target: TargetView, data_class: int, now: float) -> tuple[Because, ...]:
    """Why this endpoint may not receive this class now; empty when it may. No gate of that class: nothing binds it."""
    for gate in target.gates:
        if gate.data_class == data_class:
            if gate.closed_by:
                return gate.closed_by
            if gate.until is not None and now >= gate.until:
                return gate.then
    return ()


def _all_because(targets: Sequence[TargetView], data_class: int, now: float) -> tuple[Because, ...]:
    """Each clause once, in the order of the endpoints."""
    return tuple(dict.fromkeys(one for target in targets for one in closed_by(target, data_class, now)))


def _held_by(target: TargetView, data_class: int) -> str:
    return next((",".join(gate.checks) for gate in target.gates if gate.data_class == data_class), "")


def may_use(grant: GrantView, model: str) -> bool:
    return opens(grant.models, model)


def opens(models: Sequence[str], name: str) -> bool:
    return ANY_MODEL in models or name in models


def reachable(
    routes: Mapping[str, Sequence[TargetView]],
    grant: GrantView,
    asked_class: str | None = None,
    *,
    now: float,
    aliases: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """Models for which some endpoint may receive this grant's class, in the published order; then the `aliases` (name →
    model) of such models that it opens by either name."""
    data_class = effective_class(grant, asked_class)
    if isinstance(data_class, Refuse):
        return []
    open_to = [
        model
        for model, targets in routes.items()
        if any(is_shared(target, grant) and may_receive(target, data_class, now) for target in targets)
    ]
    named = [
        alias
        for alias, model in aliases.items()
        if model in open_to and (may_use(grant, alias) or may_use(grant, model))
    ]
    return [model for model in open_to if may_use(grant, model)] + named


def is_shared(target: TargetView, grant: GrantView) -> bool:
    return target.sharing in OPEN or target.owner == grant.institution


def may_receive(target: TargetView, data_class: int, now: float) -> bool:
    """By its clearance and by its gates."""
    return data_class <= target.clearance and not closed_by(target, data_class, now)

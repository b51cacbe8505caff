"""Reserve, then settle: whether the budgets of a request allow it, decided in memory. No database and no clock here.

A request draws on each budget that binds it, in the window (minute, day or month of Paris) in which it began, also when
it ends in another. `Local` has every window for itself; `leases.Leased` shares them with other gateways.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from proue.gateway.errors import GatewayError, Shortage
from proue.gateway.meter import Counts, impact_of
from proue.kernel.impact import Coefficients
from proue.kernel.quantity import ENERGY, GHG, REQUESTS, SCALES, TOKENS, UNITS, window_of
from proue.wire.snapshot import Budget, Price
from proue.wire.usage import Impact

ASSUMED_S = 5.0  # that a machine whose energy is counted by the second is reserved for
NOTHING = (0, 0, 0, 0, 0)
WARNING = b"x-proue-budget-warning"

Amounts = tuple[int, int, int, int, int]


class Line:
    """One unit of one window, as this gateway sees it, in sums since the window began."""

    __slots__ = ("bound", "granted", "others", "reserved", "spent", "unit")

    def __init__(self, unit: int, bound: int, granted: int) -> None:
        self.unit = unit
        self.bound = bound
        self.granted = granted  # spent + reserved stay within it
        self.others = 0  # used or committed elsewhere, when last heard
        self.spent = 0
        self.reserved = 0

    @property
    def committed(self) -> int:
        return self.spent + self.reserved

    @property
    def left(self) -> int:
        return max(self.bound - self.others - self.committed, 0)


class Lease:
    """What this gateway may draw on one window of one budget."""

    __slots__ = ("budget", "ends", "lines", "starts")

    def __init__(self, budget: Budget, now: float, granted: int | None) -> None:
        period = window_of(budget.per, datetime.fromtimestamp(now, UTC))
        assert period.end is not None
        self.budget = budget
        self.starts = period.start.timestamp()
        self.ends = period.end.timestamp()
        self.lines = [
            Line(unit, bound, bound if granted is None else granted)
            for unit, bound in enumerate(budget.limits)
            if bound is not None
        ]

    def fits(self, amounts: Amounts) -> bool:
        return all(line.spent + line.reserved + amounts[line.unit] <= line.granted for line in self.lines)


class Recent:
    """What was drawn in the last two minutes, and up to three: counted by whole minutes."""

    __slots__ = ("_minute", "_minutes")

    def __init__(self) -> None:
        self._minute = 0
        self._minutes = [[0] * len(UNITS) for _ in range(3)]

    def _turn(self, now: float) -> None:
        minute = int(now // 60)
        for _ in range(min(minute - self._minute, 3)):
            self._minutes.insert(0, [0] * len(UNITS))
            self._minutes.pop()
        self._minute = max(minute, self._minute)

    def add(self, amounts: Sequence[int], now: float) -> None:
        self._turn(now)
        for unit, amount in enumerate(amounts):
            self._minutes[0][unit] += amount

    def of(self, unit: int, now: float) -> int:
        self._turn(now)
        return max(sum(minute[unit] for minute in self._minutes), 0)


class Account:
    """One budget: its windows that are not over, and what was lately drawn."""

    __slots__ = ("budget", "contended_until", "current", "leases", "recent")

    def __init__(self, budget: Budget, first: Lease) -> None:
        self.budget = budget
        self.current = first
        self.leases: dict[float, Lease] = {first.starts: first}
        self.recent = Recent()
        self.contended_until = 0.0  # others wait for it: nothing is kept in hand


@dataclass(frozen=True, slots=True, eq=False)
class Hold:
    """What one request has reserved."""

    leases: tuple[Lease, ...]
    amounts: Amounts
    at: float  # the request's beginning: its windows are those of this instant

    @property
    def budgets(self) -> tuple[UUID, ...]:
        return tuple(lease.budget.id for lease in self.leases)


class Local:
    """Budgets of a gateway that shares them with nobody."""

    def __init__(self, holder: UUID) -> None:
        self.holder = holder
        self.held = 0  # requests that hold a reservation
        self._accounts: dict[UUID, Account] = {}

    async def take(self, budgets: Sequence[Budget], amounts: Amounts, now: float) -> Hold:
        """Raises GatewayError budget.exhausted or budget.unavailable."""
        leases = tuple([self._lease(budget, now) for budget in budgets])
        for lease in leases:
            if not lease.fits(amounts):
                return await self._ask(leases, amounts, now)
        return self._reserve(leases, amounts, now)

    def settle(self, hold: Hold, drawn: Sequence[int], now: float) -> None:
        """What was really drawn takes the place of what was reserved. Once for each hold."""
        self.held -= 1
        rest = [real - reserved for real, reserved in zip(drawn, hold.amounts, strict=True)]
        for lease in hold.leases:
            for line in lease.lines:
                line.reserved = max(line.reserved - hold.amounts[line.unit], 0)  # less, of a limit declared meanwhile
                line.spent += drawn[line.unit]
            self._drew(lease, rest, now)

    def undo(self, hold: Hold, now: float) -> None:
        """Nothing was sent."""
        self.settle(hold, NOTHING, now)

    async def look(self, budgets: Sequence[Budget], now: float) -> list[Lease]:
        """How they stand, for whoever asks."""
        return [self._lease(budget, now) for budget in budgets]

    async def refusal(self, budgets: Sequence[Budget], amounts: Amounts, now: float) -> GatewayError | None:
        """What `take` would raise; nothing is reserved."""
        return short(await self.look(budgets, now), amounts, now)

    def _reserve(self, leases: tuple[Lease, ...], amounts: Amounts, now: float) -> Hold:
        for lease in leases:
            for line in lease.lines:
                line.reserved += amounts[line.unit]
            self._drew(lease, amounts, now)
        self.held += 1
        return Hold(leases, amounts, now)

    async def _ask(self, leases: tuple[Lease, ...], amounts: Amounts, now: float) -> Hold:
        raise short(leases, amounts, now) or GatewayError("budget.unavailable")

    def _drew(self, lease: Lease, amounts: Sequence[int], now: float) -> None:
        pass

    def _open(self, budget: Budget, now: float) -> Lease:
        return Lease(budget, now, None)

    def _lease(self, budget: Budget, now: float) -> Lease:
        """Of the window that holds this instant."""
        account = self._accounts.get(budget.id)
        if account is None:
            account = self._accounts[budget.id] = Account(budget, self._open(budget, now))
        elif account.budget is not budget:
            self._declared_anew(account, budget)
        lease = account.current
        if not lease.starts <= now < lease.ends:
            lease = account.current = self._window(account, now)
            for start in [start for start, one in account.leases.items() if over(one, now)]:
                del account.leases[start]
        return lease

    def _window(self, account: Account, at: float) -> Lease:
        fresh = self._open(account.budget, at)
        return account.leases.setdefault(fresh.starts, fresh)

    def _declared_anew(self, account: Account, budget: Budget) -> None:
        """A new snapshot: the counts stay, the limits follow."""
        if account.budget == budget:
            account.budget = budget
            return
        account.budget = budget
        for start, lease in list(account.leases.items()):
            if lease.budget.per != budget.per:
                del account.leases[start]
                continue
            known = {line.unit: line for line in lease.lines}
            lease.budget = budget
            lease.lines = self._open(budget, lease.starts).lines
            for line in lease.lines:
                if (old := known.get(line.unit)) is not None:
                    line.spent, line.reserved, line.others = old.spent, old.reserved, old.others
                    line.granted = line.granted or old.granted


def over(lease: Lease, now: float) -> bool:
    return now >= lease.ends and not any(line.reserved for line in lease.lines)


def short(leases: Iterable[Lease], amounts: Amounts, now: float) -> GatewayError | None:
    """The refusal of the budget that is exhausted, the one that lasts longest first; None when none is."""
    seen = tuple(leases)
    found: tuple[float, Lease, Line] | None = None
    for lease, line in _lines(seen):
        if amounts[line.unit] > line.left and (found is None or lease.ends > found[0]):
            found = lease.ends, lease, line
    if found is None:
        return None
    ends, lease, line = found
    wait = max(ends - now, 0.001)
    return GatewayError(
        "budget.exhausted",
        definitive=amounts[line.unit] > line.bound,
        # `retry` says that one of more than two minutes is none
        headers=[(b"retry-after", b"%.3f" % wait), *headers(seen, now)],
        shortage=Shortage(
            lease.budget.subject, lease.budget.per, UNITS[line.unit], line.left, amounts[line.unit], ends, wait
        ),
    )


# --- what a request draws


def wanted(
    budgets: Sequence[Budget], *, tokens_in: int, tokens_out: int, price: Price | None,
    coefficients: Coefficients | None,
) -> Amounts:  # fmt: skip
    """What is reserved. Energy and gases are those of `usage.impacts`: the gases with the share of idle hours and
    manufacture."""
    counts, impact = Counts(tokens_in=tokens_in, tokens_out=tokens_out), None
    if any(one.limits[ENERGY] is not None or one.limits[GHG] is not None for one in budgets):
        impact = impact_of(coefficients, counts, ASSUMED_S)
    return drawn(counts, impact, price)


def drawn(counts: Counts, impact: Impact | None, price: Price | None) -> Amounts:
    return (
        1,
        counts.tokens_in + counts.tokens_out,
        0 if price is None else cost(counts, price),
        0 if impact is None else impact.energy_uwh.value,
        0 if impact is None else impact.ghg_full_ug.value,
    )


def cost(counts: Counts, price: Price) -> int:
    """µ€, and never less than what is owed."""
    fresh = max(counts.tokens_in - counts.tokens_in_cached, 0)
    owed = fresh * price.fresh + counts.tokens_in_cached * price.cached + counts.tokens_out * price.out
    return -int(-owed // 1)


# --- what the client is told


def headers(leases: Sequence[Lease], now: float) -> list[tuple[bytes, bytes]]:
    """`x-ratelimit-*` of the tightest budget of each kind, and which budgets are nearly used up."""
    found: list[tuple[bytes, bytes]] = []
    for unit, name in ((REQUESTS, b"requests"), (TOKENS, b"tokens")):
        tightest = min(
            ((line.left, lease.ends, line.bound) for lease, line in _lines(leases) if line.unit == unit),
            default=None,
        )
        if tightest is not None:
            left, ends, bound = tightest
            found += [
                (b"x-ratelimit-limit-" + name, b"%d" % bound),
                (b"x-ratelimit-remaining-" + name, b"%d" % left),
                (b"x-ratelimit-reset-" + name, duration(ends - now).encode()),
            ]
    warned = [warning(lease, line) for lease, line in _lines(leases) if is_low(lease, line)]
    if warned:
        found.append((WARNING, ", ".join(warned).encode()))
    return found


def _lines(leases: Iterable[Lease]) -> Iterator[tuple[Lease, Line]]:
    return ((lease, line) for lease in leases for line in lease.lines)


def is_low(lease: Lease, line: Line) -> bool:
    return (line.bound - line.left) * 100 >= lease.budget.warn_at * line.bound


def warning(lease: Lease, line: Line) -> str:
    budget, unit = lease.budget, UNITS[line.unit]
    left, limit = _declared(unit, line.left), _declared(unit, line.bound)
    return f"{budget.subject};per={budget.per};unit={unit};left={left};limit={limit}"


def duration(seconds: float) -> str:
    """As OpenAI writes it: 20ms, 1s, 6m0s, 23h59m59s."""
    if seconds < 1:
        return f"{max(int(seconds * 1000), 0)}ms"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def standing(leases: Iterable[Lease], wanted: Amounts | None = None) -> list[dict[str, Any]]:
    """For /v1/me, in the units that people declare; with `wanted`, what a request would reserve of each."""
    return [
        {
            "subject": lease.budget.subject,
            "per": lease.budget.per,
            "unit": UNITS[line.unit],
            "limit": _declared(UNITS[line.unit], line.bound),
            "used": _declared(UNITS[line.unit], line.bound - line.left),
            "remaining": _declared(UNITS[line.unit], line.left),
            "warn_at": lease.budget.warn_at,
            "reset": datetime.fromtimestamp(lease.ends, UTC).isoformat().replace("+00:00", "Z"),
            **({} if wanted is None else {"reserve": _declared(UNITS[line.unit], wanted[line.unit])}),
        }
        for lease, line in _lines(leases)
    ]


def _declared(unit: str, value: int) -> int | float:
    scale = SCALES[unit]
    return value if scale == 1 else value / scale

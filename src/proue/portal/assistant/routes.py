"""Where a question would go, said before it is sent: the gateway's own rule, asked of what is published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, cast

from django.conf import settings
from django.utils.translation import gettext as _

from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Admit, Operation, decide, may_use
from proue.portal.words import NOT_DECLARED, country, law
from proue.wire.snapshot import Target

if TYPE_CHECKING:
    from proue.institutions.models import Institution


class AssistantUse(Protocol):
    """What we need of a declared use."""

    @property
    def models(self) -> Sequence[str]: ...
    @property
    def data_class(self) -> int: ...
    @property
    def ceiling(self) -> int: ...
    @property
    def institution(self) -> "Institution": ...


@dataclass(frozen=True, slots=True)
class Grant:
    """A declared use as the policy sees it."""

    models: tuple[str, ...]
    data_class: int
    ceiling: int
    institution: str = ""
    operations: tuple[str, ...] = (Operation.CHAT,)
    not_before: float = 0.0
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Grants:
    """Under which use each class is asked: a member's own, and the public one for what is nobody's secret."""

    own: Grant
    public: Grant | None = None

    def of(self, data_class: DataClass) -> Grant:
        return self.public if self.public is not None and data_class is DataClass.PUBLIC else self.own

    def classes(self) -> list[DataClass]:
        lowest = [DataClass.PUBLIC] if self.public is not None else []
        return [*lowest, *classes_of(self.own)]


Routes = Mapping[str, Sequence[Target]]


def grant_of(use: AssistantUse) -> Grant:
    return Grant(tuple(use.models), use.data_class, use.ceiling, use.institution.uai)


def routes_of(published: Routes, grant: Grant) -> Routes:
    """Model → its machines in the gateway's order: those that this use opens and that can hold a conversation."""
    able = {
        model: [one for one in targets if Operation.CHAT in one.operations]
        for model, targets in published.items()
        if may_use(grant, model)
    }
    return {model: targets for model, targets in able.items() if targets}


def classes_of(grant: Grant) -> list[DataClass]:
    """What a person may declare: from the use's own class up to its ceiling."""
    return [one for one in DataClass if grant.data_class <= one <= grant.ceiling]


def destination(routes: Routes, grant: Grant, model: str, data_class: DataClass, *, at: datetime) -> Target | None:
    """The machine that the gateway would choose first at that instant, or None when it would refuse."""
    decision = decide(
        routes,
        grant,
        model=model,
        operation=Operation.CHAT,
        asked_class=data_class.code,
        max_tokens=0,
        now=at.timestamp(),
    )
    return cast("Target", decision.target) if isinstance(decision, Admit) else None


def open_first(routes: Routes, grant: Grant, *, at: datetime) -> Routes:
    """The models that may receive what this use begins with, before those that may not; else in the gateway's order."""
    lowest = DataClass(grant.data_class)
    shut = {name: destination(routes, grant, name, lowest, at=at) is None for name in routes}
    return {name: routes[name] for name in sorted(routes, key=shut.__getitem__)}


def said(target: Target | None) -> str:
    """One line: where it goes, who runs the machine, under which law."""
    if target is None:
        return _("Aucune machine de ce modèle ne peut recevoir ces données : rien ne partira.")
    place = _("Elle ira chez {provider}, {country}, sous {law}.").format(
        provider=target.operator, country=country(target.country), law=law(target.hq_country)
    )
    if settings.DEMO and target.country != NOT_DECLARED:
        return place + " " + _("Pays et droit sont des valeurs de la démonstration.")
    return place

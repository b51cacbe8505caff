"""`proue demo break` and `restore`: a qualification expires, and is renewed. Played by the product's own actions.

Each break takes the next qualified supplier, in the order in which the gateway tries them: the same sensitive question
goes elsewhere, then nowhere, and the refusal names the clause and the need.
"""

from datetime import datetime, timedelta

from proue.config.demo.market import HOLDERS, Holder, qualify
from proue.config.environment import BadSetting
from proue.kernel.clock import utc_now
from proue.kernel.paris import day_of, midnight
from proue.store.access import system
from proue.supply import queries as supply

BREAK, RESTORE = "demo.break", "demo.restore"
NO_WORLD = "Il n’y a pas de monde de démonstration ici : « proue up » en ouvre un sur un dossier vide."
ALL_BROKEN = "Toutes les qualifications ont déjà expiré : « proue demo restore » les renouvelle."


def qualified() -> list[Holder]:
    return [holder for holder in HOLDERS if holder.qualified_for is not None]


def break_next(*, at: datetime) -> str:
    """One sentence of what happened. Raises BadSetting."""
    with system("demo"):
        for holder in qualified():
            provider = supply.provider_by_code(holder.code)
            if provider is None:
                raise BadSetting(NO_WORLD)
            if _until(provider.pk) > at:
                qualify(provider, until=at - timedelta(hours=1), at=at)
                return f"La qualification de {holder.name} a expiré."
    raise BadSetting(ALL_BROKEN)


def restore(*, at: datetime) -> str:
    """Every qualification that the incident ended is renewed."""
    renewed = []
    with system("demo"):
        for holder in qualified():
            provider = supply.provider_by_code(holder.code)
            if provider is None:
                raise BadSetting(NO_WORLD)
            if holder.qualified_for is not None and _until(provider.pk) <= at:
                qualify(provider, until=midnight(day_of(at + holder.qualified_for)), at=at)
                renewed.append(holder.name)
    if not renewed:
        return "Aucune qualification n’avait expiré : rien n’a changé."
    return f"Qualification renouvelée : {', '.join(renewed)}."


def _until(provider_id: object) -> datetime:
    told = supply.attributes_in_force(provider_id)["snc_valid_until"]  # type: ignore[arg-type]
    return datetime.fromisoformat(str(told.value))


def play(name: str) -> str:
    """For the job behind the buttons of the visit: never fails, whoever pressed twice."""
    try:
        return (break_next if name == BREAK else restore)(at=utc_now())
    except BadSetting as refused:
        return str(refused)

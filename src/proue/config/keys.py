"""`proue key create`: a key of a declared use, shown once."""

from difflib import get_close_matches

from proue.config.environment import BadSetting
from proue.config.publishing import publish_and_wait
from proue.institutions.access import Job
from proue.kernel.clock import utc_now
from proue.store.access import system
from proue.supply import actions, queries


def create(*, use_code: str, name: str) -> dict[str, str]:
    at = utc_now()
    with system("apply"):
        use = queries.use_by_code(use_code)
        if use is None:
            raise BadSetting(_unknown(use_code, queries.use_codes()))
        made = actions.create_key(actor=Job(), use=use, name=name, at=at)
    publish_and_wait()
    return {"key": made.secret, "id": str(made.key.pk), "use": use.code, "name": name, "prefix": made.key.prefix}


def _unknown(code: str, known: list[str]) -> str:
    close = get_close_matches(code, known, n=1)
    if close:
        return f"Aucun usage déclaré ne porte le code « {code} ». Vouliez-vous dire « {close[0]} » ?"
    return f"Aucun usage déclaré ne porte le code « {code} » : déclarez-le avec `proue apply`."

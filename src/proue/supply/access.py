"""Doors to uses and keys. The same answer for what does not exist and for what is another's."""

from uuid import UUID

from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.refusal import NotFound
from proue.supply.models import ApiKey, Use

# Of keys: one's own take MANAGE_KEYS; those of others, or of programs, take a right over the institution's uses.
OVER_OTHERS = {Right.MANAGE_KEYS: Right.MANAGE_USES, Right.READ: Right.READ_USAGE}


def use_for(actor: Actor, code: str, right: Right) -> Use:
    use = Use.objects.filter(code=code).select_related("institution").first()
    if use is None:
        raise NotFound("use")
    if not actor.may(right, use.institution_id):
        raise NotFound("use")
    return use


def key_for(actor: Actor, id: UUID, right: Right) -> ApiKey:
    key = ApiKey.objects.filter(id=id).select_related("use", "person").first()
    if key is None:
        raise NotFound("key")
    if not actor.may(right, key.use.institution_id):
        raise NotFound("key")
    if key.person_id is not None and key.person_id == actor.person_id:
        return key
    if not actor.may(OVER_OTHERS.get(right, right), key.use.institution_id):
        raise NotFound("key")
    return key

"""`proue person create`: the first accounts of an instance, and any other."""

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from proue.config.environment import BadSetting
from proue.institutions import actions, queries
from proue.institutions.access import Job, institution_for
from proue.institutions.rules import Role, Status
from proue.kernel.clock import utc_now
from proue.store.access import system


def create(*, email: str, name: str, uai: str | None, status: str, roles: tuple[str, ...], password: str) -> str:
    try:
        validate_password(password)
        wanted = [Role(role) for role in roles]
    except ValidationError as error:
        raise BadSetting("Ce mot de passe est refusé : " + " ".join(error.messages)) from None
    except ValueError:
        known = ", ".join(role.value for role in Role)
        raise BadSetting(f"Un rôle est inconnu. Les rôles sont : {known}.") from None
    at, job = utc_now(), Job()
    with system("apply"):
        if queries.person_by_email(email) is not None:
            raise BadSetting(f"Le compte {email} existe déjà.")
        institution = institution_for(uai) if uai else None
        person = actions.add_person(actor=job, email=email, name=name, password=password, at=at)
        if institution is not None:
            actions.open_membership(actor=job, person=person, institution=institution, status=Status(status), at=at)
        for role in wanted:
            actions.grant_role(actor=job, person=person, role=role, institution=institution, at=at)
    return f"Compte ouvert : {email}."

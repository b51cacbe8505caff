"""`proue apply`: what is said of providers (`attributes`), and what was agreed with them (`contracts`)."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from proue.config.applying import Done, Missing, Wrong, hint, unknown
from proue.config.declarations import Declarations, Entry
from proue.institutions.access import Actor, Job
from proue.institutions.queries import institutions
from proue.procurement import actions as procurement
from proue.procurement import queries as commitments
from proue.procurement.rules import EndpointOfAnother, UnknownClause, UnknownEndpoint, UnknownParty
from proue.store import links
from proue.supply import actions as supply
from proue.supply import queries

if TYPE_CHECKING:
    from proue.supply.models import Provider


def attribute(entry: Entry, declared: Declarations, *, actor: Actor | Job, at: datetime) -> Done:
    given = entry.values
    provider = _provider(entry, declared)
    endpoint = None
    if "endpoint" in given:
        endpoint = queries.endpoint_by_code(given["endpoint"])
        if endpoint is None:
            raise unknown(declared, entry, "endpoint", "endpoints", "code", "Le moteur")
    else:
        _refuse_two_values(entry, declared)
    known = queries.attribute_in_force(provider.pk, endpoint.pk if endpoint else None, given["name"])
    before = _said(known) if known else None
    row, changed = supply.declare_attribute(
        actor=actor,
        provider=provider,
        endpoint=endpoint,
        name=given["name"],
        value=given["value"],
        unit=given.get("unit", ""),
        standing=given["standing"],
        proof=given.get("proof", ""),
        valid_from=given.get("valid_from"),
        valid_until=given.get("valid_until"),
        at=at,
    )
    subject = f"{provider.code} / {endpoint.code}" if endpoint else provider.code
    return Done(f"{row.name} @ {subject}", before, _said(row), changed)


def _said(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("value", "unit", "standing", "proof", "valid_until")}


def _refuse_two_values(entry: Entry, declared: Declarations) -> None:
    """Beside the provider and here, with two values: the result would depend on their order, at each run."""
    name = entry.values["name"]
    for other in declared.of("providers"):
        same = other.values.get("code") == entry.values["provider"] and name in other.values
        if same and other.values[name] != entry.values["value"]:
            place = other.at(name)
            where = f"{place.file}, ligne {place.line}"
            raise Wrong("value", f"« {name} » est déjà déclaré avec une autre valeur ({where}).")


def contract(entry: Entry, declared: Declarations, *, actor: Actor | Job, at: datetime) -> Done:
    given = entry.values
    provider = _provider(entry, declared)
    known = commitments.commitment_by_code(given["code"])
    before = links.latest(known.pk) if known else None
    try:
        row, changed = procurement.enter_commitment(
            actor=actor,
            code=given["code"],
            kind=given["kind"],
            title=given["title"],
            provider=provider,
            parties=given["parties"],
            signed_on=given["signed_on"],
            starts_on=given["starts_on"],
            ends_on=given.get("ends_on"),
            specification=given.get("specification", ""),
            clauses=given["clauses"],
            endpoints=given.get("endpoints", ()),
            thresholds=given.get("thresholds"),
            at=at,
        )
    except UnknownClause as refusal:
        word = str(refusal.details["clause"])
        near = hint(word, commitments.clause_codes())
        raise Wrong("clauses", f"La clause « {word} » n’existe pas.{near}") from refusal
    except UnknownEndpoint as refusal:
        word = str(refusal.details["endpoint"])
        if word in declared.names("endpoints", "code"):
            raise Missing from refusal
        near = hint(word, queries.endpoint_codes(provider.pk))
        raise Wrong("endpoints", f"Le moteur « {word} » n’est pas déclaré.{near}") from refusal
    except EndpointOfAnother as refusal:
        sentence = f"Le moteur « {refusal.details['endpoint']} » n’est pas à « {provider.name} » : "
        raise Wrong("endpoints", sentence + "un fournisseur ne s’engage que pour les siens.") from refusal
    except UnknownParty as refusal:
        word = str(refusal.details["code"])
        if word in declared.names("institutions", "uai") | declared.names("providers", "code"):
            raise Missing from refusal
        codes = {one.uai for one in institutions()} | {one.code for one in queries.providers()}
        sentence = f"« {word} » n’est ni un établissement ni un fournisseur déclaré.{hint(word, codes)}"
        raise Wrong("parties", sentence) from refusal
    after = links.latest(row.pk)
    assert after is not None
    return Done(row.code, before.body if before else None, after.body, changed)


def _provider(entry: Entry, declared: Declarations) -> "Provider":
    provider = queries.provider_by_code(entry.values["provider"])
    if provider is None:
        raise unknown(declared, entry, "provider", "providers", "code", "Le fournisseur")
    return provider

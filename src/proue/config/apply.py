"""`proue apply`: what the files declare, in one transaction; then published, then acknowledged by the gateways."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import models

from proue.config import apply_checks, apply_needs, apply_procurement, apply_specification
from proue.config.applying import Done, unknown
from proue.config.applying import Missing as _Missing
from proue.config.applying import Wrong as _Wrong
from proue.config.declarations import BadDeclaration, Declarations, Entry, Place, Problem, read
from proue.config.publishing import ACKNOWLEDGE_S, living, publish_and_wait
from proue.institutions import actions as institutions
from proue.institutions.access import Actor, Job, institution_for
from proue.institutions.queries import person_by_email
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Priority, Sharing, Shield
from proue.kernel.quantity import UNITS, Per
from proue.kernel.refusal import NotFound, Refusal
from proue.metering import actions as metering
from proue.metering import queries as budgets
from proue.metering.rules import WARN_AT, Subject
from proue.portal.messages import say
from proue.store.access import system
from proue.supply import actions as supply
from proue.supply import queries, rules
from proue.wire.token import key_digest

if TYPE_CHECKING:
    from proue.institutions.models import Institution, Person

__all__ = ["BadDeclaration", "Report", "apply"]

ADDED, CHANGED, SAME = "+", "~", "="
SHORT_KEY = "La clé « {name} » est courte : à moins de 32 caractères après « sk-proue- », elle se devine plus vite."
OLDER_KEY = "L’ancienne clé « {name} » reste valable : révoquez-la quand plus personne ne s’en sert."
NO_GATEWAY = "Aucune passerelle n’est en vie ; la prochaine lira ces déclarations à son démarrage."


@dataclass(frozen=True, slots=True)
class Change:
    mark: str
    kind: str
    name: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.mark} {self.kind} {self.name}" + (f" ({self.detail})" if self.detail else "")


@dataclass(slots=True)
class Report:
    """What changed, what to know, and which gateways did not acknowledge."""

    dry_run: bool
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lagging: list[UUID] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return any(change.mark != SAME for change in self.changes)

    def __str__(self) -> str:
        same = sum(change.mark == SAME for change in self.changes)
        lines = [str(change) for change in self.changes if change.mark != SAME]
        if same:
            lines.append(f"{SAME} inchangé : {same}")
        lines += dict.fromkeys(self.notes)
        if self.lagging:
            named = ", ".join(str(one) for one in self.lagging)
            lines.append(
                f"Publié ; après {ACKNOWLEDGE_S:g} s, ces passerelles ne servent pas encore l’ensemble : {named}"
            )
        if self.dry_run:
            lines.append("Essai seulement : rien n’a été enregistré.")
        return "\n".join(lines)


class _Undo(Exception):
    """Ends a dry run: everything was tried, nothing stays."""


def apply(
    paths: Sequence[Path], *, actor: Actor | Job, at: datetime, dry_run: bool = False, wait: bool = True
) -> Report:
    """All or nothing. Raises BadDeclaration with everything that is wrong."""
    declared = read(paths)
    report = Report(dry_run)
    work = _Work(declared, report, actor, at)
    try:
        with system("apply"):
            work.run()
            if work.problems:
                raise BadDeclaration(work.problems)
            if dry_run:
                raise _Undo  # noqa: TRY301 - the way out of the transaction
    except _Undo:
        return report
    report.lagging = publish_and_wait(ACKNOWLEDGE_S if wait else 0.0, everything=True)
    if wait and not living():
        report.notes.append(NO_GATEWAY)
    return report


class _Work:
    """One run: each declaration in turn, its change into the report, its refusal into the problems."""

    def __init__(self, declared: Declarations, report: Report, actor: Actor | Job, at: datetime) -> None:
        self.declared = declared
        self.report = report
        self.actor = actor
        self.at = at
        self.problems = list(declared.problems)

    def run(self) -> None:
        steps: tuple[tuple[str, Callable[[Entry], None]], ...] = (
            ("institutions", self._institution),
            ("needs", self._need),
            ("needs", self._consolidated_need),
            ("providers", self._provider),
            ("endpoints", self._endpoint),
            ("models", self._model),
            ("aliases", self._alias),
            ("uses", self._use),
            ("keys", self._key),
            ("budgets", self._budget),
            ("requirements", self._requirement),
            ("checks", self._check),
            ("attributes", self._attribute),
            ("contracts", self._contract),
        )
        for section, declare in steps:
            for entry in self.declared.of(section):
                if entry.sound:
                    self._try(declare, entry)

    def _try(self, declare: Callable[[Entry], None], entry: Entry) -> None:
        try:
            declare(entry)
        except _Missing:
            return  # what it refers to is wrong itself, and was said
        except _Wrong as wrong:
            self._problem(entry.at(wrong.key), str(wrong))
        except Refusal as refusal:
            key, sentence = _say(refusal)
            self._problem(entry.at(key), sentence)

    def _problem(self, place: Place, sentence: str) -> None:
        self.problems.append(Problem(place, sentence))

    def _note(self, mark: str, kind: str, name: str, detail: str = "") -> None:
        self.report.changes.append(Change(mark, kind, name, detail))

    def _compare(self, kind: str, name: str, before: Mapping[str, Any] | None, row: models.Model, moved: bool) -> None:
        if before is None:
            self._note(ADDED, kind, name)
        elif moved:
            self._note(CHANGED, kind, name, _difference(before, _values(row)))
        else:
            self._note(SAME, kind, name)

    # --- one declaration each

    def _institution(self, entry: Entry) -> None:
        given = entry.values
        before = _known(lambda: institution_for(given["uai"]))
        row, moved = institutions.declare_institution(
            actor=self.actor,
            uai=given["uai"],
            name=given["name"],
            is_member=given.get("member", True if before is None else None),
            student_numbers=given.get("student_numbers"),
            at=self.at,
        )
        self._compare("institution", row.uai, before, row, moved)

    def _provider(self, entry: Entry) -> None:
        given = entry.values
        before = _values(queries.provider_by_code(given["code"]))
        row, moved = supply.declare_provider(
            actor=self.actor,
            code=given["code"],
            name=given["name"],
            hq_country=given["hq_country"],
            attributes={name: given[name] for name in sorted(rules.PROVIDER_ATTRIBUTES) if name in given},
            at=self.at,
        )
        self._compare("provider", row.code, before, row, moved)

    def _endpoint(self, entry: Entry) -> None:
        given = entry.values
        known = queries.endpoint_by_code(given["code"])
        if known is not None and known.internal:
            raise _Wrong("code", f"« {given['code']} » est le moteur de cette instance : choisissez un autre code.")
        provider = queries.provider_by_code(given["provider"])
        if provider is None:
            raise self._unknown(entry, "provider", "providers", "code", "Le fournisseur")
        before = _values(known)
        row, moved = supply.declare_endpoint(
            actor=self.actor,
            code=given["code"],
            provider=provider,
            base_url=given["base_url"],
            country=given["country"],
            clearance=given.get("clearance", DataClass.PUBLIC),
            site=given.get("site"),
            hardware=given.get("hardware"),
            secret=_secret(given, "api_key_env"),
            node_key=given.get("node_key", ""),
            generative=given.get("generative", True),
            active=given.get("active", True),
            position=given.get("position", 100),
            owner=self._institution_of(entry, "owner") if "owner" in given else None,
            sharing=given.get("sharing", Sharing.ANY.value),
            capacity=given.get("capacity"),
            shares=given.get("shares"),
            at=self.at,
        )
        self._compare("endpoint", row.code, before, row, moved)

    def _model(self, entry: Entry) -> None:
        given = entry.values
        endpoint = queries.endpoint_by_code(given["endpoint"])
        if endpoint is None:  # the endpoint's own declaration was refused, and says why
            raise _Missing
        known = queries.models_of(endpoint).get(given["name"])
        before = _values(known)
        row, moved = supply.declare_model(
            actor=self.actor,
            endpoint=endpoint,
            name=given["name"],
            served_as=given.get("served_as", given["name"]),
            size_class=given.get("class", rules.size_of(given.get("params_total_b")).value),
            operations=given.get("operations", ["chat", "text_completion"]),
            params_total_b=given.get("params_total_b"),
            params_active_b=given.get("params_active_b"),
            precision_bits=given.get("precision_bits"),
            experts=given.get("experts"),
            experts_active=given.get("experts_active"),
            price=given.get("price"),
            active=given.get("active", True),
            position=given.get("position", 100),
            retirement=_retirement(given),
            at=self.at,
        )
        self._compare("model", f"{row.name} @ {endpoint.code}", before, row, moved)

    def _alias(self, entry: Entry) -> None:
        given = entry.values
        if not queries.has_model(given["model"]):
            if queries.alias_named(given["model"]) or given["model"] in self.declared.names("aliases", "name"):
                raise _Wrong("model", f"« {given['model']} » est un alias : donnez le modèle qu’il désigne.")
            raise self._unknown(entry, "model", "models", "name", "Le modèle")
        before = _values(queries.alias_named(given["name"]))
        row, moved = supply.declare_alias(
            actor=self.actor,
            name=given["name"],
            model=given["model"],
            start=given.get("from"),
            retirement=_retirement(given),
            at=self.at,
        )
        self._compare("alias", row.name, before, row, moved)

    def _use(self, entry: Entry) -> None:
        given = entry.values
        institution = self._institution_of(entry)
        before = _values(queries.use_by_code(given["code"]))
        row, moved = supply.declare_use(
            actor=self.actor,
            code=given["code"],
            institution=institution,
            purpose=given["purpose"],
            data_class=given["data_class"],
            ai_act=given.get("ai_act", rules.AiAct.MINIMAL.value),
            shield=given.get("shield", Shield.ALLOW.value),
            names=given.get("names", False),
            models=given.get("models", ["*"]),
            ceiling=given.get("ceiling"),
            assistant=given.get("assistant", False),
            persons=[self._person(one, "persons") for one in given.get("persons", [])],
            priority=given.get("priority", Priority.INTERACTIVE.value),
            at=self.at,
        )
        self._compare("use", row.code, before, row, moved)

    def _key(self, entry: Entry) -> None:
        given = entry.values
        use = queries.use_by_code(given["use"])
        if use is None:
            raise self._unknown(entry, "use", "uses", "code", "L’usage")
        secret = _secret(given, "secret_env")
        assert secret is not None
        name = f"{given['name']} @ {use.code}"
        held = queries.key_holding(key_digest(secret))
        if held is not None and held.use_id == use.pk:
            if held.revoked_at is not None:
                raise _Wrong("secret_env", "Cette clé a été révoquée : une clé révoquée ne revient pas.")
            self._note(SAME, "key", name)
            return
        person = self._person(given["person"], "person") if "person" in given else None
        older = queries.keys_named(given["name"], use)
        supply.create_key(
            actor=self.actor,
            use=use,
            name=given["name"],
            secret=secret,
            expires_at=given.get("expires_at"),
            operations=given.get("operations", rules.ALL_OPERATIONS),
            person=person,
            at=self.at,
        )
        self._note(ADDED, "key", name)
        if rules.is_short(secret):
            self.report.notes.append(SHORT_KEY.format(name=given["name"]))
        if older:
            self.report.notes.append(OLDER_KEY.format(name=given["name"]))

    def _budget(self, entry: Entry) -> None:
        given = entry.values
        named = [one for one in Subject if one.value in given]
        if len(named) != 1:
            raise _Wrong("", "Un budget porte sur une chose et une seule : institution, use, key ou person.")
        subject = named[0]
        subject_id, institution_id, scope_id = self._subject(entry, subject)
        per = Per(given["per"])
        before = _values(budgets.budget_of(subject, subject_id, per))
        row, moved = metering.declare_budget(
            actor=self.actor,
            subject=subject,
            subject_id=subject_id,
            institution_id=institution_id,
            scope_id=scope_id,
            per=per,
            limits={unit: given[unit] for unit in UNITS if unit in given},
            at=self.at,
            warn_at=given.get("warn_at", WARN_AT),
        )
        self._compare("budget", f"{given[subject.value]} / {per.value}", before, row, moved)

    def _attribute(self, entry: Entry) -> None:
        self._done("attribute", apply_procurement.attribute(entry, self.declared, actor=self.actor, at=self.at))

    def _contract(self, entry: Entry) -> None:
        self._done("contract", apply_procurement.contract(entry, self.declared, actor=self.actor, at=self.at))

    def _need(self, entry: Entry) -> None:
        if apply_needs.is_raw(entry):
            self._done("need", apply_needs.need(entry, self.declared, actor=self.actor, at=self.at))

    def _consolidated_need(self, entry: Entry) -> None:
        """After those that they are made of, wherever the files put them."""
        if not apply_needs.is_raw(entry):
            done = apply_needs.consolidated(entry, self.declared, actor=self.actor, at=self.at)
            self._done("consolidated need", done)

    def _requirement(self, entry: Entry) -> None:
        done = apply_specification.requirement(entry, self.declared, actor=self.actor, at=self.at)
        self._done("requirement", done)

    def _check(self, entry: Entry) -> None:
        done, notes = apply_checks.check(entry, actor=self.actor, at=self.at)
        self._done("check", done)
        self.report.notes += notes

    def _done(self, kind: str, done: Done) -> None:
        if done.before is None:
            self._note(ADDED, kind, done.name)
        elif done.changed:
            self._note(CHANGED, kind, done.name, _difference(done.before, done.after))
        else:
            self._note(SAME, kind, done.name)

    def _subject(self, entry: Entry, subject: Subject) -> tuple[UUID, UUID | None, UUID]:
        given = entry.values[subject.value]
        if subject is Subject.INSTITUTION:
            institution = self._institution_of(entry)
            return institution.pk, institution.pk, institution.scope_id
        if subject is Subject.USE:
            use = queries.use_by_code(given)
            if use is None:
                raise self._unknown(entry, "use", "uses", "code", "L’usage")
            return use.pk, use.institution_id, use.scope_id
        if subject is Subject.KEY:
            keys = queries.keys_named(given)
            if not keys and given in self.declared.names("keys", "name"):
                raise _Missing
            if len(keys) != 1:
                found = "Aucune clé ne porte" if not keys else "Plusieurs clés portent"
                raise _Wrong("key", f"{found} le nom « {given} ».")
            return keys[0].pk, keys[0].use.institution_id, keys[0].scope_id
        person = person_by_email(given)
        if person is None:
            raise _Wrong("person", f"Aucun compte ne porte l’adresse « {given} ».")
        return person.pk, None, person.scope_id

    @staticmethod
    def _person(email: str, key: str) -> "Person":
        person = person_by_email(email)
        if person is None:
            raise _Wrong(key, f"Aucun compte ne porte l’adresse « {email} ».")
        return person

    def _institution_of(self, entry: Entry, key: str = "institution") -> "Institution":
        try:
            return institution_for(entry.values[key])
        except NotFound:
            raise self._unknown(entry, key, "institutions", "uai", "L’établissement") from None

    def _unknown(self, entry: Entry, key: str, section: str, code: str, what: str) -> Exception:
        return unknown(self.declared, entry, key, section, code, what)


def _retirement(given: Mapping[str, Any]) -> supply.Retirement | None:
    if given.get("replaced_by") == given["name"]:
        raise _Wrong("replaced_by", "Ce nom ne se remplace pas par lui-même : donnez celui à demander ensuite.")
    if "retires_on" in given:
        return supply.Retirement(given["retires_on"], given.get("replaced_by", ""))
    if "replaced_by" in given:
        raise _Wrong("replaced_by", "« replaced_by » va avec « retires_on » : le jour à partir duquel.")
    return None


def _secret(given: Mapping[str, Any], key: str) -> str | None:
    if key not in given:
        return None
    value = os.environ.get(given[key], "")
    if not value:
        raise _Wrong(key, f"La variable d’environnement {given[key]} n’est pas donnée à cette commande.")
    return value


# --- before and after --------------------------------------------------------------------------------------------

UNSEEN = {"id", "created_at", "scope", "institution", "subject", "subject_id", "use", "endpoint"}
SECRETS = {"sealed_secret"}
CLASSES = {"clearance", "data_class", "ceiling"}


def _known(find: Callable[[], models.Model]) -> dict[str, Any] | None:
    try:
        return _values(find())
    except NotFound:
        return None


def _values(row: models.Model | None) -> dict[str, Any] | None:
    if row is None:
        return None
    named = (one for one in row._meta.concrete_fields if one.name not in UNSEEN)  # noqa: SLF001 - Django's name for it
    return {one.name: _shown(one.name, getattr(row, one.name)) for one in named}


def _shown(name: str, value: Any) -> Any:
    if name in SECRETS:
        return None if value is None else bytes(value)
    if name in CLASSES:
        return DataClass(value).code
    if isinstance(value, models.Model | IntEnum):
        return str(value)
    return value


def _difference(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> str:
    """`clearance: public → personal`; of a secret, only that it moved."""
    parts = []
    for name, value in (after or {}).items():
        if before.get(name) == value:
            continue
        parts.append("clé renouvelée" if name in SECRETS else f"{name}: {_brief(before.get(name))} → {_brief(value)}")
    return ", ".join(parts)


def _brief(value: Any) -> str:
    text = (
        "—"
        if value is None or value in ("", [])
        else ", ".join(map(str, value))
        if isinstance(value, list)
        else str(value)
    )
    return text if len(text) <= 60 else f"{text[:59]}…"


# --- refusals, with the key that they are about -------------------------------------------------------------------


ANSWERS: Mapping[str, tuple[str, str]] = {
    "institution.bad_uai": ("uai", "« {uai} » n’est pas un code UAI : sept chiffres et une lettre."),
    "institution.bad_student_number": (
        "student_numbers",
        "« {shape} » n’est pas la forme d’un numéro d’étudiant (# chiffre, @ lettre), ou il y en a plus de {most}.",
    ),
    "supply.bad_code": (
        "code",
        "« {value} » n’est pas un code : lettres minuscules, chiffres, tirets et points, 64 caractères au plus.",
    ),
    "supply.bad_country": ("country", "« {value} » n’est pas un code de pays : deux majuscules, comme FR."),
    "endpoint.bad_address": (
        "base_url",
        "« {value} » n’est ni une adresse http://…/v1 sans mot de passe, ni « node: » et le code du moteur.",
    ),
    "endpoint.bad_node_key": (
        "node_key",
        "Une clé de nœud s’écrit « ed25519:… » (`proue node key` l’affiche) et va avec l’adresse « node:{endpoint} ».",
    ),
    "endpoint.bad_description": ("{kind}", "« {kind} » ne peut pas contenir « {key}: {value} »."),
    "endpoint.owner_missing": ("sharing", "Un moteur « {sharing} » a un établissement pour « owner »."),
    "endpoint.capacity_missing": (
        "capacity",
        "Qui passe d’abord, ou a sa part, n’a de sens que si d’autres attendent : donnez « capacity ».",
    ),
    "endpoint.bad_capacity": ("capacity", "« capacity » va de 1 à {most} demandes à la fois."),
    "endpoint.bad_share": (
        "shares",
        "La part « {uai}: {share} » : un établissement déclaré, de 1 à 100 %.",
    ),
    "endpoint.shares_above_all": ("shares", "Ensemble, les parts font {total} % de la capacité : 100 % au plus."),
    "model.bad_shape": (
        "params_active_b",
        "Les paramètres et les experts sont positifs, et ceux qui sont actifs ne dépassent pas le total.",
    ),
    "model.is_an_alias": ("name", "« {name} » est déjà un alias : ses clients changeraient de modèle sans le savoir."),
    "alias.is_a_model": ("name", "« {name} » est déjà un modèle : donnez un autre nom à l’alias."),
    "alias.unannounced": (
        "model",
        "Cet alias désigne « {current} » : pour qu’il désigne « {model} », annoncez le jour avec « from », à venir.",
    ),
    "retirement.in_the_past": ("retires_on", "Ce jour est passé : un retrait s’annonce."),
    "retirement.sooner": ("retires_on", "Un retrait annoncé se reporte ou s’annule, et ne s’avance pas."),
    "use.ceiling_below_class": ("ceiling", "Le plafond « {ceiling} » est sous la classe « {data_class} »."),
    "use.names_for_nothing": (
        "names",
        "Un usage dont « shield » vaut « allow » ne cherche aucun nom : donnez-lui une autre valeur.",
    ),
    "use.persons_missing": (
        "data_class",
        "Un usage à régime restrictif nomme ses personnes : ajoutez « persons », avec l’adresse de leur compte.",
    ),
    "use.persons_for_nothing": ("persons", "Seul un usage à régime restrictif nomme ses personnes."),
    "use.no_assistant": ("assistant", "Un usage à régime restrictif n’a pas d’assistant : rien n’en est gardé ici."),
    "key.person_not_named": (
        "person",
        "Une clé de l’usage « {use} » est à une personne qu’il nomme : ajoutez « person », une de ses « persons ».",
    ),
    "use.moves_institution": (
        "code",
        "L’usage « {use} » appartient à un autre établissement : choisissez un autre code.",
    ),
    "key.expiry_in_the_past": ("expires_at", "Cette date est passée."),
    "key.secret_too_weak": (
        "secret_env",
        "Une clé commence par « {prefix} » et compte au moins {minimum} autres caractères, sans espace.",
    ),
    "key.already_held": ("secret_env", "Cette clé ouvre déjà un autre usage : chaque usage a la sienne."),
    "budget.no_limit": ("", "Un budget borne au moins une chose : requests, tokens, eur, energy_wh ou ghg_g."),
    "budget.limit_not_positive": (
        "{unit}",
        "« {unit} » attend un nombre positif, entier pour des demandes ou des jetons.",
    ),
    "budget.no_percentage": ("warn_at", "« warn_at » est un pourcentage, de 1 à 100."),
    "attribute.no_value": ("value", "« {name} » attend une valeur : ce que nul ne sait ne se déclare pas."),
    "attribute.proof_missing": ("standing", "Un attribut vérifié ou mesuré dit par quoi : ajoutez « proof »."),
    "attribute.ends_before_it_starts": ("valid_until", "« {name} » cesserait de valoir avant de commencer."),
    "attribute.not_yet": ("valid_from", "« {name} » ne vaut pas encore : déclarez-le à partir du jour où il vaut."),
    "attribute.endpoint_of_another": ("endpoint", "Le moteur « {endpoint} » n’est pas à « {provider} »."),
    "commitment.bad_code": (
        "code",
        "« {value} » n’est pas le code d’un engagement : capitales, chiffres et tirets, comme AC-2026-01.",
    ),
    "commitment.bad_title": ("title", "Un engagement a un intitulé de {longest} caractères au plus."),
    "commitment.moves_provider": (
        "code",
        "« {commitment} » est déjà un engagement d’un autre fournisseur ou d’une autre nature : changez de code.",
    ),
    "commitment.ends_before_it_starts": ("ends_on", "Cet engagement cesserait avant de commencer ({starts_on})."),
    "commitment.bad_threshold": (
        "thresholds",
        "« {name}: {value} » n’est pas un seuil : un nombre positif, et une part va de 0 à 1.",
    ),
    "commitment.unknown_specification": (
        "specification",
        "Le cahier des charges « {specification} » n’existe pas : donnez code@version, comme CDC-IAG@1.",
    ),
    "commitment.not_from_here": (
        "code",
        "Cet engagement a pris fin : ce qui a été ne se change plus. Choisissez un autre code.",
    ),
    "need.bad_code": (
        "code",
        "« {value} » n’est pas un code de besoin : BES-0999901A-0001 (l’UAI est celui de l’établissement) ou BC-001.",
    ),
    "need.not_from_here": ("code", "L’état de ce besoin ne le permet plus ({state})."),
    "need.frozen": (
        "from",
        "« {need} » est déjà dans le cahier des charges figé {specification} : ce qui est figé ne bouge plus.",
    ),
    "changed_meanwhile": ("", "Quelqu’un a changé cet objet au même moment : recommencez."),
    "requirement.bad_code": (
        "code",
        "« {value} » n’est pas un code d’exigence : capitales, chiffres et tirets, comme EX-SOV-006, 40 au plus.",
    ),
    "requirement.not_from_here": (
        "code",
        "Cette exigence a été retirée : ce qui est retiré ne se réécrit plus. Choisissez un autre code.",
    ),
    "requirement.not_a_consolidated_need": ("needs", "« {need} » n’est pas un besoin consolidé, comme BC-017."),
    "not_allowed": ("", "Votre rôle ne permet pas cette déclaration."),
}


def _say(refusal: Refusal) -> tuple[str, str]:
    """(the key that it is about, the sentence)."""
    if refusal.code.startswith("check."):
        return "check", say(refusal)
    key, sentence = ANSWERS.get(refusal.code, ("", f"Cette déclaration est refusée ({refusal.code})."))
    return key.format(**refusal.details), sentence.format(**refusal.details)

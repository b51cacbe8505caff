"""Every refusal that a client of `/v1` may meet: code → status, French, English. The shape is OpenAI's."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from proue.gateway import retry
from proue.kernel.paris import PARIS
from proue.kernel.policy import Because
from proue.kernel.quantity import SCALES

SAID_CLAUSES = 5  # named in the sentence; the body lists them all


class Sentence(NamedTuple):
    status: int
    french: str
    english: str
    definitive: bool | None = None  # asking again would change nothing; None: what the status says


class Answer(NamedTuple):
    """A whole answer: what `send` needs."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Shortage(NamedTuple):
    """What a budget no longer allows, in our integers."""

    subject: str
    per: str
    unit: str
    left: int
    asked: int
    resets_at: float
    wait_s: float


class GatewayError(Exception):
    """A request that ends here. `definitive`: asking again would change nothing."""

    def __init__(
        self, code: str, *, param: str | None = None, definitive: bool | None = None, status: int | None = None,
        because: tuple[Because, ...] = (), headers: Sequence[tuple[bytes, bytes]] = (),
        shortage: Shortage | None = None, **details: object,
    ) -> None:  # fmt: skip
        super().__init__(code)
        self.code = code
        self.param = param
        self.because = because
        self.headers = headers
        self.shortage = shortage
        self.details = details
        known = SENTENCES.get(code, UNKNOWN)
        self.status = status or known.status
        if definitive is None:
            definitive = known.definitive
        self.definitive = self.status < 500 and self.status != 429 if definitive is None else definitive


SENTENCES: dict[str, Sentence] = {
    "key.missing": Sentence(
        401,
        "Aucune clé n’accompagne cette requête : envoyez l’en-tête « Authorization: Bearer sk-proue-… ».",
        "No key came with this request: send the header “Authorization: Bearer sk-proue-…”.",
    ),
    "key.unknown": Sentence(
        401,
        "Cette clé n’est pas connue : elle a pu être révoquée ou mal copiée. Créez-en une autre dans Proue.",
        "This key is not known: it may have been revoked or mistyped. Create another one in Proue.",
    ),
    "key.not_yet_valid": Sentence(
        401, "Cette clé n’est pas encore en service.", "This key is not in service yet."
    ),
    "key.expired": Sentence(
        401,
        "Cette clé a expiré : créez-en une autre dans Proue.",
        "This key has expired: create another one in Proue.",
    ),
    "key.operation_not_allowed": Sentence(
        403,
        "Cette clé ne permet pas cette opération : demandez-la à la personne qui gère l’usage.",
        "This key does not allow this operation: ask whoever manages its use.",
    ),
    "token.invalid": Sentence(
        401,
        "Ce jeton de session n’est pas valide : rechargez la page.",
        "This session token is not valid: reload the page.",
    ),
    "token.expired": Sentence(
        401,
        "Votre session a expiré : rechargez la page.",
        "Your session has expired: reload the page.",
    ),
    "model.unknown": Sentence(
        404,
        "Ce modèle n’existe pas, ou votre usage ne l’ouvre pas : GET /v1/models donne ceux que vous pouvez demander.",
        "This model does not exist, or your use does not open it: GET /v1/models lists those you may ask for.",
    ),
    "model.retired": Sentence(
        410,
        "« {name} » a été retiré, comme annoncé : demandez à la place {instead}.",
        "“{name}” has been retired, as announced: ask for {instead} instead.",
    ),
    "model.missing": Sentence(
        400, "Le champ « model » manque.", "The field “model” is missing."
    ),
    "model.operation_not_supported": Sentence(
        400, "Ce modèle ne sait pas faire cette opération.", "This model does not support this operation."
    ),
    "class.unknown": Sentence(
        400,
        "Cette classe de données n’existe pas : public, internal, personal, sensitive ou restricted.",
        "This data class does not exist: public, internal, personal, sensitive or restricted.",
    ),
    "class.undecidable": Sentence(
        403,
        "La classe de données de cet usage ne peut pas être établie : rien n’a été transmis.",
        "The data class of this use cannot be decided: nothing was sent.",
    ),
    "class.above_use": Sentence(
        403,
        "Ces données dépassent ce que votre usage déclare : rien n’a été transmis.",
        "This data is above what your use declares: nothing was sent.",
    ),
    "class.above_clearance": Sentence(
        403,
        "Aucune machine qui sert ce modèle ne peut recevoir ces données : rien n’a été transmis.",
        "No machine that serves this model may receive this data: nothing was sent.",
    ),
    "policy.gate_closed": Sentence(
        403,
        "Aucune machine de ce modèle ne peut recevoir ces données pour l’instant, et rien n’a été transmis : {why}",
        "No machine that serves this model may receive this data for now, and nothing was sent: {why}",
    ),
    "shield.personal_data": Sentence(
        403,
        "Cette requête contient des données personnelles ({what}), que cet usage ne laisse pas partir vers une machine "
        "qui n’est pas habilitée à en recevoir : rien n’a été transmis.",
        "This request contains personal data ({what}), which this use does not let go to a machine that is not cleared "
        "for it: nothing was sent.",
    ),
    "shield.cannot_look": Sentence(
        403,
        "Cet usage protège les données personnelles, et cette requête ne peut pas être relue en entier (image, "
        "son, fichier, jetons, ou plus de {limit} Ko) : rien n’a été transmis.",
        "This use protects personal data, and not everything in this request can be looked into (image, sound, file, "
        "tokens, or more than {limit} kB): nothing was sent.",
    ),
    "endpoint.private": Sentence(
        403,
        "Les machines qui servent ce modèle ne répondent qu’à l’établissement qui les possède : rien n’a été transmis.",
        "The machines that serve this model answer only the institution that owns them: nothing was sent.",
    ),
    "queue.full": Sentence(
        429,
        "Trop de demandes attendent déjà leur tour à ce modèle, rien n’a été transmis : réessayez dans {seconds} s.",
        "Too many requests already wait for their turn at this model, and nothing was sent: try again in {seconds} s.",
    ),
    "queue.too_long": Sentence(
        503,
        "Votre tour n’est pas venu en {waited} s d’attente, et rien n’a été transmis : réessayez dans {seconds} s.",
        "Your turn did not come within {waited} s, and nothing was sent: try again in {seconds} s.",
    ),
    "endpoint.none_left": Sentence(
        503,
        "Aucune machine ne peut répondre pour l’instant : réessayez dans un moment.",
        "No machine can answer right now: try again in a moment.",
    ),
    "endpoint.unavailable": Sentence(
        503,
        "Les machines de ce modèle viennent de faillir plusieurs fois de suite : la passerelle leur redemandera dans "
        "un moment.",
        "The machines of this model have just failed several times in a row: the gateway asks them again in a moment.",
    ),
    "gateway.demonstration": Sentence(
        503,
        "Ce monde de démonstration a des mots de passe publics : il ne répond que sur sa propre machine.",
        "This demonstration world has public passwords: it answers on its own machine only.",
        definitive=True,
    ),
    "use.no_tools": Sentence(
        403,
        "Des données à régime restrictif ne vont à aucun outil, et rien n’a été transmis : retirez « {field} » de la "
        "requête.",
        "Restricted data goes to no tool, and nothing was sent: take “{field}” out of the request.",
    ),
    "snapshot.expired": Sentence(
        503,
        "Le fichier de ce laboratoire n’est plus valable : demandez-en un autre à la personne qui exploite Proue dans "
        "votre établissement.",
        "This laboratory’s file is no longer valid: ask whoever operates Proue in your institution for another one.",
        definitive=True,
    ),
    "budget.exhausted": Sentence(
        429,
        "{whose} ne suffit plus pour {when} : il y reste {left}, il faudrait {asked}. "
        "Il se renouvelle {again}.",
        "{whose} is not enough any more for {when}: {left} left, {asked} needed. "
        "It is renewed {again}.",
    ),
    "budget.unavailable": Sentence(
        503,
        "La passerelle ne peut pas vérifier votre budget en ce moment : réessayez dans un instant.",
        "The gateway cannot check your budget at this moment: try again in an instant.",
    ),
    "request.malformed": Sentence(
        400, "Le corps de la requête n’est pas un objet JSON.", "The body of the request is not a JSON object."
    ),
    "request.field": Sentence(
        400,
        "Le champ « {field} » n’a pas la forme attendue.",
        "The field “{field}” does not have the expected shape.",
    ),
    "request.unsupported": Sentence(
        400,
        "« {what} » n’existe pas derrière cette passerelle, et rien n’a été transmis : retirez-le de la requête.",
        "“{what}” does not exist behind this gateway, and nothing was sent: take it out of the request.",
    ),
    "request.stateless": Sentence(
        400,
        "La passerelle ne garde aucune conversation : envoyez-la entière dans « input », sans « {field} ».",
        "The gateway keeps no conversation: send it whole in “input”, without “{field}”.",
    ),
    "request.too_large": Sentence(
        413,
        "Le corps de la requête dépasse {limit} Mo.",
        "The body of the request is larger than {limit} MB.",
    ),
    "request.head": Sentence(
        400, "Cette requête HTTP est mal formée ou trop longue.", "This HTTP request is malformed or too long."
    ),
    "request.too_slow": Sentence(
        408, "Le corps de la requête n’est pas arrivé à temps.", "The body of the request did not arrive in time."
    ),
    "request.encoding": Sentence(
        415,
        "Le corps de la requête doit être envoyé sans compression.",
        "The body of the request must be sent uncompressed.",
    ),
    "form.malformed": Sentence(
        400,
        "Le formulaire n’est pas lisible : envoyez « multipart/form-data » avec un fichier et un seul champ « model ».",
        "The form cannot be read: send “multipart/form-data” with a file and one field “model” only.",
    ),
    "files.key_only": Sentence(
        403,
        "Les fichiers et les lots appartiennent à une clé : un jeton de session n’en dépose pas.",
        "Files and batches belong to a key: a session token brings none.",
    ),
    "files.restricted": Sentence(
        403,
        "Les données à régime restrictif ne sont pas gardées : ni fichier ni lot pour elles, et rien n’a été transmis.",
        "Restricted data is not kept: neither file nor batch for it, and nothing was sent.",
    ),
    "files.unavailable": Sentence(
        503,
        "Les fichiers et les lots ne répondent pas pour l’instant : réessayez dans un moment.",
        "Files and batches do not answer right now: try again in a moment.",
    ),
    "path.unknown": Sentence(
        404, "Cette adresse n’existe pas.", "There is nothing at this address."
    ),
    "method.not_allowed": Sentence(
        405, "Cette adresse se demande avec {allow}.", "This address is asked for with {allow}."
    ),
    "gateway.not_ready": Sentence(
        503,
        "La passerelle démarre : réessayez dans un instant.",
        "The gateway is starting: try again in an instant.",
    ),
    "node.upgrade": Sentence(
        426,
        "Cette adresse est celle où les nœuds se branchent : `proue node --connect`.",
        "This is where nodes connect: `proue node --connect`.",
    ),
    "node.refused": Sentence(
        403,
        "Aucun moteur déclaré ici n’a ce nœud et cette clé : comparez avec ce que `proue node key` a affiché.",
        "No engine declared here has this node and this key: compare with what `proue node key` printed.",
    ),
    "gateway.busy": Sentence(
        503,
        "La passerelle sert déjà autant de requêtes qu’elle peut : réessayez dans un instant.",
        "The gateway is already serving as many requests as it can: try again in an instant.",
    ),
    "gateway.stopping": Sentence(
        503, "La passerelle redémarre : relancez votre demande.", "The gateway is restarting: ask again."
    ),
    "gateway.fault": Sentence(
        500,
        "La passerelle a rencontré un défaut : signalez-le avec l’identifiant de la requête.",
        "The gateway met a fault: report it with the request’s identifier.",
    ),
    "journal.full": Sentence(
        503,
        "La passerelle ne peut plus rien compter, donc ne transmet plus rien : prévenez la personne qui l’exploite.",
        "The gateway can no longer count, so it no longer serves: tell whoever operates it.",
    ),
    "endpoint.misconfigured": Sentence(
        502,
        "La machine qui sert ce modèle est mal déclarée : prévenez la personne qui exploite la passerelle.",
        "The machine that serves this model is badly declared: tell whoever operates the gateway.",
        definitive=True,
    ),
    "upstream.unreachable": Sentence(
        503,
        "La machine qui sert ce modèle ne répond pas : réessayez dans un moment.",
        "The machine that serves this model does not answer: try again in a moment.",
    ),
    "upstream.busy": Sentence(
        503,
        "La machine qui sert ce modèle est saturée : réessayez dans un moment.",
        "The machine that serves this model is saturated: try again in a moment.",
    ),
    "upstream.too_slow": Sentence(
        504,
        "La machine qui sert ce modèle n’a pas répondu à temps : réessayez, ou demandez une réponse plus courte.",
        "The machine that serves this model did not answer in time: try again, or ask for a shorter answer.",
    ),
    "upstream.stalled": Sentence(
        504,
        "La machine s’est tue au milieu de sa réponse : ce que vous avez reçu est incomplet.",
        "The machine fell silent in the middle of its answer: what you received is incomplete.",
    ),
    "upstream.too_long": Sentence(
        504,
        "La réponse dure plus longtemps que la passerelle n’attend : demandez-en moins à la fois.",
        "The answer takes longer than the gateway waits: ask for less at a time.",
        definitive=True,
    ),
    "upstream.dead": Sentence(
        502,
        "La machine s’est arrêtée avant la fin de sa réponse : ce que vous avez reçu est incomplet.",
        "The machine stopped before the end of its answer: what you received is incomplete.",
    ),
    "upstream.malformed": Sentence(
        502,
        "La machine qui sert ce modèle a donné une réponse illisible.",
        "The machine that serves this model gave an unreadable answer.",
    ),
    "upstream.too_large": Sentence(
        502,
        "La réponse de la machine dépasse ce que la passerelle transmet : demandez-en moins à la fois.",
        "The machine’s answer is larger than the gateway relays: ask for less at a time.",
        definitive=True,
    ),
    "upstream.unauthorized": Sentence(
        502,
        "La machine refuse la clé de Proue, pas la vôtre : prévenez la personne qui exploite la passerelle.",
        "The machine refuses Proue’s key, not yours: tell whoever operates the gateway.",
        definitive=True,
    ),
    "upstream.error": Sentence(
        502,
        "La machine qui sert ce modèle a répondu par une erreur ({code_seen}).{said}",
        "The machine that serves this model answered with an error ({code_seen}).{said}",
    ),
}  # fmt: skip
UNKNOWN = Sentence(500, "Cette requête n’a pas pu aboutir.", "This request could not be completed.")

TYPES = {401: "authentication_error", 403: "permission_error", 408: "timeout_error", 429: "rate_limit_error"}


def type_of(status: int) -> str:
    if status in TYPES:
        return TYPES[status]
    return "invalid_request_error" if status < 500 else "server_error"


def prefers_english(accept_language: str) -> bool:
    """French unless English is asked for first. A reading of RFC 9110 §12.5.4 that is enough for two languages."""
    best: dict[str, float] = {"fr": 0.0, "en": 0.0}
    for part in accept_language.split(","):
        tag, _, parameters = part.strip().partition(";")
        primary = tag.split("-", 1)[0].strip().lower()
        if primary in best:
            best[primary] = max(best[primary], _quality(parameters))
    return best["en"] > best["fr"]


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def sentence(error: GatewayError, *, english: bool) -> str:
    known = SENTENCES.get(error.code, UNKNOWN)
    text = known.english if english else known.french
    return text.format(**error.details) if error.details else text


def payload(error: GatewayError, *, english: bool) -> bytes:
    if error.because:
        error.details["why"] = _why(error.because, english=english)
    if error.shortage is not None:
        error.details.update(_shortage(error.shortage, english=english))
    found = error.details.get("found")
    if isinstance(found, dict):
        error.details["what"] = found_words(found, english=english)
    body: dict[str, object] = {
        "message": sentence(error, english=english),
        "type": type_of(error.status),
        "code": error.code,
        "param": error.param,
    }
    if error.because:
        body["clauses"] = error.because
    if found:
        body["found"] = found
    return msgspec.json.encode({"error": body})


def object_of(body: bytes) -> dict[str, Any]:
    """The error object of an answer in OpenAI's shape: ours, or an engine's that has it."""
    error = msgspec.json.decode(body, type=dict[str, Any])["error"]
    assert isinstance(error, dict)
    return error


# What was found, as kernel.personal names it.
KINDS = {
    "NIR": ("numéro de sécurité sociale", "social security number"),
    "INE": ("identifiant national étudiant", "national student number"),
    "IBAN": ("IBAN", "IBAN"),
    "RIB": ("RIB", "bank account"),
    "SIRET": ("SIRET", "SIRET"),
    "SIREN": ("SIREN", "SIREN"),
    "EMAIL": ("adresse électronique", "e-mail address"),
    "PHONE": ("téléphone", "telephone"),
    "PLATE": ("plaque d’immatriculation", "number plate"),
    "STUDENT": ("numéro d’étudiant", "student number"),
    "NAME": ("nom de personne", "person's name"),
}


def found_words(found: Mapping[str, int], *, english: bool) -> str:
    """Kinds and counts, never values."""
    return ", ".join(f"{KINDS.get(kind, (kind, kind))[english]} × {count}" for kind, count in found.items())


# Why a gate is closed, as assurance.rules.Reason codes it.
REASONS = {
    "missing": ("une information manque", "something that it asks for is missing"),
    "expired": ("une preuve a expiré", "a proof has expired"),
    "false": ("ce qui est déclaré ne la respecte pas", "what is declared does not respect it"),
    "ended": ("l’engagement n’est plus en vigueur", "the commitment is no longer in force"),
}
OTHER_REASON = ("le contrôle ne conclut pas", "the check does not conclude")


def _why(because: tuple[Because, ...], *, english: bool) -> str:
    """One phrase a clause, whatever the number of commitments; without a clause, its requirement."""
    said = list(dict.fromkeys(_phrase(one, english=english) for one in because))
    more = len(said) - SAID_CLAUSES
    if more > 0:
        said = [*said[:SAID_CLAUSES], f"and {more} more" if english else f"et {more} de plus"]
    return ("; " if english else "\u00a0; ").join(said) + "."


def _phrase(one: Because, *, english: bool) -> str:
    reason = REASONS.get(one.reason, OTHER_REASON)[english]
    need = (f", from need {one.need}" if english else f", née du besoin {one.need}") if one.need else ""
    kind = "clause" if one.clause else ("requirement" if english else "exigence")
    return f"{kind} {one.clause or one.requirement or one.commitment} ({reason}{need})"


BUDGETS = {
    "institution": ("Le budget de votre établissement", "The budget of your institution"),
    "use": ("Le budget de cet usage", "The budget of this use"),
    "key": ("Le budget de cette clé", "The budget of this key"),
    "person": ("Votre budget personnel", "Your own budget"),
}
PERIODS = {
    "minute": ("cette minute", "this minute"),
    "day": ("aujourd’hui", "today"),
    "month": ("ce mois-ci", "this month"),
}
QUANTITIES = {
    "requests": ("demandes", "requests"),
    "tokens": ("jetons", "tokens"),
    "eur": ("€", "€"),
    "energy_wh": ("Wh", "Wh"),
    "ghg_g": ("g CO2e", "g CO2e"),
}
MONTHS = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
]


def _shortage(short: Shortage, *, english: bool) -> dict[str, str]:
    return {
        "whose": BUDGETS[short.subject][english],
        "when": PERIODS[short.per][english],
        "left": quantity(short.unit, short.left, english=english),
        "asked": quantity(short.unit, short.asked, english=english),
        "again": _again(short, english=english),
    }


def quantity(unit: str, value: int, *, english: bool) -> str:
    word, scale = QUANTITIES[unit][english], SCALES[unit]
    if scale == 1:
        digits = f"{value:,}"
        if value == 1 or (value == 0 and not english):
            word = word.removesuffix("s")
    else:
        digits = f"{value / scale:,.4f}".rstrip("0").rstrip(".")
    return f"{digits} {word}" if english else f"{digits.translate(FRENCH_DIGITS)}\u00a0{word}"


FRENCH_DIGITS = str.maketrans({",": "\u202f", ".": ","})


def _again(short: Shortage, *, english: bool) -> str:
    """A minute in seconds, a day or a month by its date in Paris."""
    if short.per == "minute":
        seconds = max(round(short.wait_s), 1)
        return f"in {seconds} s" if english else f"dans {seconds}\u00a0s"
    at = datetime.fromtimestamp(short.resets_at, PARIS)
    if english:
        return f"on {at:%Y-%m-%d} at 00:00, Paris time"
    return f"le {'1er' if at.day == 1 else at.day} {MONTHS[at.month - 1]} {at.year} à 0\u00a0h, heure de Paris"


def reason_header(error: GatewayError) -> str:
    """x-proue-route-reason of a refusal: the clauses that closed the way."""
    names = dict.fromkeys(one.clause or one.requirement or one.commitment for one in error.because)
    return f"closed={','.join(names)}" if names else ""


def in_band(error: GatewayError, *, english: bool) -> bytes:
    """For a stream that has begun. Starts with a newline: the event before it may have been cut."""
    return b"\n\ndata: " + payload(error, english=english) + b"\n\n"


def answer(error: GatewayError, *, english: bool, given: Iterable[tuple[bytes, bytes]] = ()) -> Answer:
    """`given`: the headers of the engine whose refusal this is."""
    body = payload(error, english=english)
    headers = [
        (b"content-type", b"application/json"),
        *retry.headers(error.status, (*error.headers, *given), now=time.time(), definitive=error.definitive),
        *(one for one in error.headers if one[0] not in retry.NAMES),
    ]
    if error.because:
        headers.append((b"x-proue-route-reason", reason_header(error).encode("ascii", "replace")))
    if error.status == 405:
        headers.append((b"allow", str(error.details["allow"]).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return Answer(error.status, headers, body)

"""`proue snapshot export` and `proue usage`: what goes to a laboratory's gateway by hand, and what comes back."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from proue.config.environment import BadSetting
from proue.gateway import outbox
from proue.gateway.files import replace_file
from proue.gateway.settings import Limits
from proue.kernel.paris import day_of
from proue.wire import counts, signed
from proue.wire.counts import Counted, Counts

WHY = {
    "unreadable": "il est incomplet, ou n’est pas un fichier de compteurs",
    "unsigned": "il n’est pas signé",
    "altered": "il a été modifié depuis sa signature",
    "version": "il vient d’une autre version de Proue",
    "too_large": "il est trop grand",
}
NOTHING = "Rien n’attend d’être exporté."
WHAT_IT_HOLDS = (
    "Chaque ligne\u00a0: l’heure (sans minutes), l’usage, le modèle, le moteur, l’opération, l’issue, des nombres de "
    "jetons, "
    "des durées, une énergie estimée. Ni question, ni réponse, ni personne, ni clé. Relisez le "
    "fichier\u00a0: c’est du texte."
)


def export_snapshot(uai: str, target: Path, *, days: int, endpoints: Sequence[str], uses: Sequence[str]) -> str:
    from proue.gateway.laboratory import variable
    from proue.institutions.access import Job, institution_for
    from proue.kernel.clock import utc_now
    from proue.kernel.refusal import NotFound
    from proue.serving.actions import export_laboratory
    from proue.store.access import system

    _writable(target)
    with system("snapshot"):
        try:
            institution = institution_for(uai)
        except NotFound:
            raise BadSetting(f"Aucun établissement ne porte le code {uai}.") from None
        made = export_laboratory(
            actor=Job(), institution=institution, at=utc_now(), days=days, endpoints=endpoints, uses=uses
        )
        _written(target, made.data)
    lines = [
        f"Fichier écrit\u00a0: {target}, valable jusqu’au {made.valid_until:%d/%m/%Y à %H:%M} UTC.",
        f"Usages\u00a0: {', '.join(made.uses)}. Clés\u00a0: {made.keys}. Moteurs\u00a0: {', '.join(made.endpoints)}.",
        *(f"La clé du moteur «\u00a0{one}\u00a0» se donne là-bas, dans {variable(one)}." for one in made.secrets),
    ]
    return "\n".join(lines)


def export_usage(spool: Path, target: Path | None, *, show: bool) -> str:
    if target is None and not show:
        raise BadSetting("Donnez --to pour exporter, ou --show pour lire ce qui partirait.")
    if not spool.is_dir():
        raise BadSetting(outbox.NOT_A_SPOOL.format(path=spool))
    limit = Limits().outbox_bytes
    if target is None:
        waiting = outbox.waiting(spool, limit=limit)
        return "\n".join(_table(waiting)) if waiting else NOTHING
    _writable(target)
    made = outbox.export(spool, target, limit=limit)
    if made is None:
        return NOTHING
    head = made.counts.head
    said = [f"Fichier écrit\u00a0: {target}, n°\u00a0{head.number}, {_counted(head.records, 'requête')}."]
    return "\n".join([*said, *(_table(made.counts.records) if show else ())])


def show_usage(path: Path) -> str:
    """The signature is the file's own: whether its key is a laboratory's of ours, the import says."""
    try:
        found = counts.read(_read(path))
    except signed.BadFile as bad:
        raise BadSetting(f"{path}\u00a0: {WHY[bad.code]}.") from None
    return "\n".join([_named(found), *_table(found.records)])


def import_usage(path: Path, *, trust: str | None) -> str:
    from proue.institutions.access import Job
    from proue.kernel.clock import utc_now
    from proue.metering import imports
    from proue.store.access import system

    try:
        trusted = signed.trusted_id(trust) if trust else ""
    except ValueError:
        raise BadSetting("--trust attend la clé publique du laboratoire (`proue usage key`).") from None
    with system("usage-import"):
        made = imports.import_usage(actor=Job(), data=_read(path), at=utc_now(), trust=trusted)
    known = len(made.counts.records) - made.added
    said = [_named(made.counts), f"Comptées\u00a0: {_counted(made.added, 'requête')} ; déjà connues\u00a0: {known}."]
    if made.missing:
        lost = _counted(made.missing, "fichier")
        said.append(f"Il manque {lost} entre le dernier reçu et celui-ci\u00a0: demandez-les au laboratoire.")
    return "\n".join(said)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


def _named(found: Counts) -> str:
    head = found.head
    return (
        f"Compteurs n°\u00a0{head.number} de {head.institution}, laboratoire {head.laboratory}, "
        f"écrits le {head.made_at:%d/%m/%Y à %H:%M} UTC\u00a0: {_counted(head.records, 'requête')}."
    )


def _table(records: Iterable[Counted]) -> Iterator[str]:
    """Sums by Paris day, for whoever must say that it may leave."""
    requests: Counter[tuple[str, ...]] = Counter()
    tokens: Counter[tuple[str, ...]] = Counter()
    for one in records:
        key: tuple[str, ...] = (day_of(one.hour).isoformat(), str(one.use), one.model, one.endpoint, one.outcome.value)
        requests[key] += 1
        tokens[key] += one.tokens_in + one.tokens_out
    yield WHAT_IT_HOLDS
    yield "jour        usage                                 modèle, moteur, issue\u00a0: requêtes, jetons"
    for key in sorted(requests):
        day, use, model, endpoint, outcome = key
        yield f"{day}  {use}  {model}, {endpoint}, {outcome}\u00a0: {requests[key]}, {tokens[key]}"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(counts.FILE_MAX + 1)
    except OSError as error:
        raise BadSetting(f"{path} ne se lit pas ({error.strerror}).") from None


def _writable(target: Path) -> None:
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise BadSetting(f"{target} ne peut pas être écrit\u00a0: donnez un nom de fichier dans un dossier qui existe.")


def _written(target: Path, data: bytes) -> None:
    try:
        replace_file(target, data)
    except OSError as error:
        raise BadSetting(f"{target} ne peut pas être écrit ({error.strerror}).") from None

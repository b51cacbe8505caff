"""What the gateway shows of itself: a batch, the budget that it nearly spent, and an alias whose end is announced."""

import json
from datetime import date, datetime

from proue.batches import access, actions
from proue.config.demo.cast import ENGINES_ALIAS, ENGINES_MODEL, RESEARCH_KEY, RESEARCH_USE
from proue.institutions.access import Job
from proue.kernel.dataclass import DataClass
from proue.kernel.paris import midnight
from proue.kernel.quantity import Per
from proue.metering import actions as metering
from proue.metering.rules import Subject
from proue.store.access import system
from proue.supply import actions as supply
from proue.supply import queries
from proue.wire.token import key_digest

CHAT = "/v1/chat/completions"
ALIAS_ENDS = date(2027, 9, 1)
QUESTIONS = (
    "Comment demander une année de césure ?",
    "Combien coûte le duplicata de la carte d’étudiant ?",
    "Comment obtenir une aide d’urgence ?",
    "Quand ouvrent les inscriptions pédagogiques ?",
    "Comment bénéficier d’un aménagement d’examen ?",
    "Où demander un relevé de notes ?",
    "Combien de jours de télétravail par semaine ?",
    "Comment justifier une absence à un examen ?",
)
A_MONTH = 10  # requests: the batch takes eight, and whoever tries two more meets the limit


def load_demo_gateway(*, opened: datetime, at: datetime) -> None:
    """Once: what somebody sends, changes or erases afterwards is theirs."""
    with system("demo"):
        if queries.alias_named(ENGINES_ALIAS) is None:
            supply.declare_alias(
                actor=Job(),
                name=ENGINES_ALIAS,
                model=ENGINES_MODEL,
                retirement=supply.Retirement(midnight(ALIAS_ENDS), ENGINES_MODEL),
                at=opened,
            )
        use = queries.use_by_code(RESEARCH_USE)
        if use is None or queries.key_holding(key_digest(RESEARCH_KEY)) is not None:
            return
        key = supply.create_key(actor=Job(), use=use, name="corpus de recherche", secret=RESEARCH_KEY, at=opened).key
        metering.declare_budget(
            actor=Job(),
            subject=Subject.USE,
            subject_id=use.pk,
            institution_id=use.institution_id,
            scope_id=use.scope_id,
            per=Per.MONTH,
            limits={"requests": A_MONTH},
            warn_at=75,
            at=opened,
        )
        _send(access.holder_of(key.pk, DataClass.PUBLIC, at), at)


def _send(holder: access.Holder, at: datetime) -> None:
    """Run by the worker once everything is open."""
    text = "".join(
        json.dumps(
            {
                "custom_id": f"question-{number}",
                "method": "POST",
                "url": CHAT,
                "body": {"model": "proue-citations", "messages": [{"role": "user", "content": question}]},
            },
            ensure_ascii=False,
        )
        + "\n"
        for number, question in enumerate(QUESTIONS, 1)
    )
    file = actions.receive_file(
        actor=holder, name="questions-frequentes.jsonl", purpose="batch", blocks=[text.encode()], at=at
    )
    actions.submit_batch(
        actor=holder, input_id=file.pk, endpoint=CHAT, window="24h", metadata={"objet": "questions fréquentes"}, at=at
    )

"""A batch of the demonstration: sent by the product's own actions, run by the worker once everything is open."""

import json
from datetime import datetime

from proue.batches import access, actions, queries
from proue.config.demo.cast import DEMO_KEY
from proue.kernel.dataclass import DataClass
from proue.store.access import system
from proue.supply.queries import key_holding
from proue.wire.token import key_digest

CHAT = "/v1/chat/completions"
QUESTIONS = (
    "Comment demander une année de césure ?",
    "Combien coûte le duplicata de la carte d’étudiant ?",
    "Comment obtenir une aide d’urgence ?",
    "Quand ouvrent les inscriptions pédagogiques ?",
    "Comment bénéficier d’un aménagement d’examen ?",
    "Où demander un relevé de notes ?",
)


def load_demo_batch(*, at: datetime) -> None:
    """Once: what somebody sends or erases afterwards is theirs."""
    with system("demo"):
        key = key_holding(key_digest(DEMO_KEY))
        if key is None or key.revoked_at is not None:
            return
        holder = access.holder_of(key.pk, DataClass.PUBLIC, at)
        if queries.batches_of(holder).exists():
            return
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
            actor=holder,
            input_id=file.pk,
            endpoint=CHAT,
            window="24h",
            metadata={"objet": "questions fréquentes"},
            at=at,
        )

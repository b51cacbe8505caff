"""Opening a session of the assistant: a short signed token with which a browser calls the gateway."""

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings

from proue.assistant import queries
from proue.assistant.rules import NoUse
from proue.institutions.access import Actor
from proue.institutions.rules import Right
from proue.kernel.dataclass import DataClass
from proue.store.rules import PUBLIC
from proue.wire.seal import derive
from proue.wire.token import SESSION_SECONDS, Session, sign, token_key

VISITOR = "visitor"
PSEUDONYM_CHARACTERS = 32
MAX_SCOPES = (
    64  # what fits in a token (wire.token.MAX_TOKEN_BYTES); the shared scopes have the lowest ids, and go first
)


@dataclass(frozen=True, slots=True)
class AssistantSession:
    token: str
    expires_at: datetime
    use_code: str
    models: tuple[str, ...]
    data_class: DataClass
    ceiling: DataClass

    def __repr__(self) -> str:
        return f"AssistantSession({self.use_code})"  # never the token


def open_session(*, actor: Actor, at: datetime, public: bool = False) -> AssistantSession:
    """`public`: what a member asks is nobody's secret, and is asked as a visitor would, without internal documents.

    Nothing is kept: neither the session (the token is its own proof) nor, in this version, the conversation.

    Not a fact of the ledger either: what is asked with it is counted as Usage by the gateway. Raises NoUse.
    """
    use = queries.use_for(actor)
    if use is None:
        raise NoUse
    scopes = actor.scopes
    if public and (beside := queries.public_use_beside(use)) is not None:
        use, scopes = beside, frozenset({PUBLIC})
    if use.data_class > DataClass.PUBLIC:
        actor.require(Right.USE_ASSISTANT, use.institution_id)
    expires_at = at.astimezone(UTC) + timedelta(seconds=SESSION_SECONDS)
    statement = Session(
        use=use.code,
        person=pseudonym(actor.person_id),
        ceiling=use.ceiling,
        access_scopes=tuple(sorted(str(scope) for scope in scopes)[:MAX_SCOPES]),
        expires_at=expires_at.timestamp(),
    )
    return AssistantSession(
        token=sign(token_key(settings.SECRET_KEY, Session), statement),
        expires_at=expires_at,
        use_code=use.code,
        models=queries.models_of(use),
        data_class=DataClass(use.data_class),
        ceiling=DataClass(use.ceiling),
    )


def pseudonym(person_id: UUID | None) -> str:
    """The same for one person always, and nobody's name: without the key it cannot be turned back."""
    if person_id is None:
        return VISITOR
    digest = hmac.digest(derive(settings.SECRET_KEY, "pseudonym/1"), person_id.bytes, "sha256")
    return digest.hex()[:PSEUDONYM_CHARACTERS]

from typing import TYPE_CHECKING

from proue.institutions.access import Actor
from proue.kernel.dataclass import DataClass
from proue.supply.queries import OfferedModel, assistant_use_for, offered_models, public_assistant_use

if TYPE_CHECKING:
    from proue.supply.models import Use

EVERY_MODEL = "*"


def use_for(actor: Actor) -> "Use | None":
    """The use under which this person asks the assistant."""
    return assistant_use_for(actor)


def public_use_beside(use: "Use") -> "Use | None":
    """For a member whose question holds nothing personal: the public use, when theirs is another."""
    return public_assistant_use() if use.data_class > DataClass.PUBLIC else None


def models_of(use: "Use") -> tuple[str, ...]:
    """Names of the models that chat under this use, in the order of the gateway; each name once."""
    chatting = (one.name for one in offered_models() if "chat" in one.operations)
    allowed = (name for name in chatting if EVERY_MODEL in use.models or name in use.models)
    return tuple(dict.fromkeys(allowed))


def generative_models() -> list[OfferedModel]:
    """Empty when nothing here writes: the assistant then only quotes, and says so."""
    return [one for one in offered_models() if one.generative and "chat" in one.operations]

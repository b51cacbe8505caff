"""« Ce qu’il est devenu », in one sentence."""

from collections.abc import Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from proue.needs.queries import NeedStory, Story
from proue.needs.rules import Fate
from proue.portal.figures import day

NAMED = 3  # codes that a sentence names; the page and the export list all


def sentence(story: Story) -> str:
    if story.fate is Fate.SERVED:
        return _("Servi ici depuis le {day}. {how}").format(day=day(story.since) if story.since else "—", how=story.how)
    if story.fate is Fate.REFUSED:
        return refusal(story)
    if story.fate is Fate.IN_CONTRACT:
        said = ngettext(
            "Au contrat : {commitments} y engage par la clause {clauses}.",
            "Au contrat : {commitments} y engage par les clauses {clauses}.",
            len(story.clauses),
        )
        return said.format(commitments=_listed([one.code for one in story.commitments]), clauses=_listed(story.clauses))
    if story.requirements:
        said = ngettext(
            "Personne encore : l’exigence {requirements} le demande, aucun engagement ne le porte.",
            "Personne encore : les exigences {requirements} le demandent, aucun engagement ne le porte.",
            len(story.requirements),
        )
        return said.format(requirements=_listed([one.code for one in story.requirements]))
    return _("Personne encore : aucun service et aucun engagement n’y répondent.")


def refusal(story: Story | NeedStory) -> str:
    when = day(story.since) if story.since else "—"
    return _("Non retenu le {day} : {reason}").format(day=when, reason=story.reason)


def _listed(codes: Sequence[str]) -> str:
    if len(codes) <= NAMED:
        return ", ".join(codes)
    more = len(codes) - NAMED
    return ngettext("{codes} et {n} autre", "{codes} et {n} autres", more).format(
        codes=", ".join(codes[:NAMED]), n=more
    )

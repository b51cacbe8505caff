"""What a question is about: its subject's words, the institution that it names, and whether a passage is on it. Pure.

A passage that holds only the shape of a question (« date limite », « combien de jours ») is not on its subject.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

Lexemes = Callable[[str], Collection[str]]

# Words that say what kind of answer is wanted, or who asks: no passage is on the subject for holding them.
SHAPE = """
    délai date limite durée temps montant prix tarif coût coûter coûte vaut valoir payer saisir document
    texte trouver trouve savoir connaître dire dis information renseignement aide aider besoin possible demander
    demande obtenir nombre jour mois an année semaine heure étudiant étudiante université établissement école faculté
    fac personne chose bonjour salut merci nouveau signifie veut risque maximum minimum plafond taux calendrier horaire
    moi bon quelqu un autre aujourd hui demain maintenant encore toujours comme si premier première second seconde
    deuxième dernier dernière ici lieu permis autorisé obligatoire quelque arriver vraiment problème pose poser part
    partir suivre venir vers ci côté ni pouvoir pouvez avant après donc aussi tout petit grand
"""
LONG = 4  # subject words from which a question tells a story: then the best part of it is enough
STORY_SHARE, STORY_WORDS = 0.34, 3
LONG_STORY, LONG_STORY_SHARE = 7, 0.17
MOST = 0.5  # share of the subject that makes up for its rarest word

NAMED = re.compile(
    r"\b(?P<name>(?:universit[ée]s?|univ|fac(?:ult[ée])?|[ée]cole|institut|iut|insa|campus|university)\s+"
    r"(?:(?:de\s+la|de\s+l[’']|des|du|de|d[’']|[àa]|of)\s*)?(?P<word>[\w-]+))",
    re.IGNORECASE,
)
# Names that need no « université » before them. Real ones: the question is then of somewhere else.
FAMOUS = re.compile(
    r"\b(?P<name>(?:la\s+)?sorbonne|harvard|oxford|cambridge|stanford|polytechnique|hec|sciences[ -]po|nanterre|assas|"
    r"dauphine|saclay|centrale\s?sup[ée]lec|normale\s?sup|ens|mit|essec|escp)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Subject:
    """The lexemes that a passage must hold, with their weights, and those that nothing holds."""

    known: Mapping[str, float]
    unknown: frozenset[str]
    shape: Mapping[str, float]

    @property
    def tells_a_story(self) -> bool:
        return len(self.known) + len(self.unknown) > LONG

    @property
    def rarest(self) -> str:
        return max(self.known, key=lambda one: (self.known[one], one), default="")


def subject_of(
    weights: Mapping[str, float],
    unknown: Collection[str],
    *,
    weak: Collection[str],
    names: Collection[str],
    shape: Collection[str],
) -> Subject:
    told = {one: weight for one, weight in weights.items() if one not in weak and one not in names}
    telling = {one: weight for one, weight in told.items() if one not in shape and not one.isdigit()}
    return Subject(
        known={one: weight for one, weight in telling.items() if one not in unknown},
        unknown=frozenset(one for one in telling if one in unknown),
        shape={one: weight for one, weight in told.items() if one not in telling and one not in unknown},
    )


def on_subject(subject: Subject, matched: Sequence[str]) -> bool:
    """The rarest word of the question is in the passage, and the words that nobody knows do not outweigh it."""
    held = [one for one in matched if one in subject.known]
    if not held:
        return False
    share = sum(subject.known[one] for one in held) / sum(subject.known.values())
    if subject.tells_a_story:
        told = len(subject.known) + len(subject.unknown)
        return len(held) >= STORY_WORDS and share >= (LONG_STORY_SHARE if told > LONG_STORY else STORY_SHARE)
    if len(subject.unknown) >= max(len(held), 2) + (len(held) > 1) or (len(held) == 1 and subject.unknown):
        return False
    return subject.rarest in held or (len(held) > 1 and share >= MOST)


def wholly(subject: Subject, matched: Sequence[str]) -> bool:
    """Every telling word of the question is in the passage."""
    return bool(subject.known) and not subject.unknown and set(subject.known) <= set(matched)


def in_its_titles(subject: Subject, matched: Sequence[str], titles: Collection[str], text: Sequence[str]) -> bool:
    """A passage that holds a single word of the question, or beside words that nothing holds, must be about it.

    « Divorce », said once in a list of events, makes no text on divorce.
    """
    held = [one for one in matched if one in subject.known]
    if subject.tells_a_story or any(one in titles for one in held):
        return True
    if subject.unknown or subject.rarest not in held:
        return len(held) > STORY_WORDS
    return len(matched) > 1 or any(text.count(one) > 1 for one in held)


def stranger(question: str, unknown: Collection[str], lexemes: Lexemes) -> str:
    """The institution that the question names and that the commons do not know; "" when there is none."""
    famous = FAMOUS.search(question)
    if famous and set(lexemes(famous["name"])) & set(unknown):
        return famous["name"]
    for found in NAMED.finditer(question):
        if len(found["word"]) > 2 and set(lexemes(found["word"])) & set(unknown):
            return found["name"]
    return ""

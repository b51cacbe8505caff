"""From words to lexemes, for French: lower case, accents folded, stop words, Snowball stems. No input or output.

Accents are folded before stemming: people type without them. On the CNIL's 159 questions folding first finds as much
as stemming first (recall@10 0.811 against 0.805), and the same words with and without accents meet.
"""

import re
import threading
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

VERSION = 2  # of the analysis: an index built by another one is rebuilt
LONGEST_WORD = 60
SHORTEST_CORRECTED = 5  # letters: below, one changed letter makes another word

STOP_WORDS = frozenset(
    """
    a ai aie aient aies ait as au aura aurai auraient aurais aurait auras aurez auriez aurions aurons auront aux avaient
    avais avait avec avez aviez avions avons ayant ayez ayons c ce ceci cela ces cet cette d dans de des du elle en es
    est et eu eue eues eurent eus eusse eussent eusses eussiez eussions eut eux furent fus fusse fussent fusses fussiez
    fussions fut fumes ici il ils j je l la le les leur leurs lui m ma mais me meme mes moi mon n ne nos notre nous on
    ont ou par pas pour qu que quel quelle quelles quels qui s sa sans se sera serai seraient serais serait seras serez
    seriez serions serons seront ses si soi soient sois soit sommes son sont soyez soyons suis sur t ta te tes toi ton
    tu un une vos votre vous y etaient etais etait etant etiez etions ete etee etees etes
    jai jy cest nest quest quil quelle quon lon ya svp stp
    """.split()  # noqa: SIM905 - a list a word a line would be two pages
)
# Words of a question that say little of its subject. They count a little: pages of questions and answers repeat them.
WEAK_WORDS = """
    combien comment coment quand quoi quel ou pourquoi est faut peut puis doit dois peux veux voudrais
    fait faire avoir etre ca plus g
"""
WEAK = 0.2

# Without its accent a feminine participle escapes the stemmer (« refusee »): we take it to the masculine first.
FEMININE = re.compile(r"(?<=[a-z]{3})ees?\b")

# Lexemes that the stemmer leaves apart and that people use for one another: members → the head of the family.
FAMILIES: Mapping[str, str] = {
    member: head
    for head, members in {
        "justifi": "justif",
        "absenc": "absent",
        "exam": "examen",
        "inscript": "inscrir inscrit inscriv inscriron inscris",
        "reinscript": "reinscrir reinscrit reinscriv",
        "pai": "paient pay payent",
        "licenc": "l1 l2 l3",
        "master": "m1 m2",
    }.items()
    for member in members.split()
}
# Letters that an apostrophe parts from the word, when somebody types without it: « sinscrire », « quest ».
ELIDED = re.compile(r"(?:qu|[cdjlmnst])(?=[aehiouy])")

_held = threading.local()  # an analyser is not shared between threads


def _analysers() -> tuple[TextAnalyzer, TextAnalyzer]:
    pair: tuple[TextAnalyzer, TextAnalyzer] | None = getattr(_held, "pair", None)
    if pair is None:
        words = (
            TextAnalyzerBuilder(Tokenizer.simple())
            .filter(Filter.remove_long(LONGEST_WORD))
            .filter(Filter.lowercase())
            .filter(Filter.ascii_fold())
            .filter(Filter.custom_stopword(sorted(STOP_WORDS)))
            .build()
        )
        stems = TextAnalyzerBuilder(Tokenizer.whitespace()).filter(Filter.stemmer("french")).build()
        pair = _held.pair = words, stems
    return pair


def lexemes(text: str) -> list[str]:
    """In order, with repeats."""
    words, stems = _analysers()
    # Decomposed accents and ligatures (« ﬁ ») would cut words in two.
    said = " ".join(words.analyze(unicodedata.normalize("NFKC", text)))
    return [FAMILIES.get(stem, stem) for stem in stems.analyze(FEMININE.sub("e", said))]


def without_elision(lexeme: str) -> str:
    """The lexeme of « inscrire » for that of « sinscrire »; the same when nothing is glued to it."""
    bare = ELIDED.sub("", lexeme, count=1) if ELIDED.match(lexeme) else lexeme
    return FAMILIES.get(bare, bare)


@lru_cache(maxsize=1)
def weak_lexemes() -> frozenset[str]:
    return frozenset(lexemes(WEAK_WORDS))


# Words of an institution's name that do not tell it from others.
COMMON_NAMES = "université école institut alliance académie établissement communauté ingénieurs langues des universités"


@lru_cache(maxsize=512)
def telling_name(institution: str) -> frozenset[str]:
    """The lexemes by which people name an institution: « Deux-Rives », « Val-Clair »."""
    name = institution.partition("(")[0]
    return frozenset(lexemes(name)) - _common_names()


@lru_cache(maxsize=1)
def _common_names() -> frozenset[str]:
    return frozenset(lexemes(COMMON_NAMES))


def trigrams(text: str) -> frozenset[str]:
    """Of the lexemes, so that endings and small words do not count."""
    padded = f" {' '.join(lexemes(text))} "
    return frozenset(padded[at : at + 3] for at in range(len(padded) - 2))


def one_letter_apart(word: str, other: str) -> bool:
    """One letter more, less, changed, or two neighbours exchanged."""
    if word == other or abs(len(word) - len(other)) > 1:
        return False
    start = 0
    while start < min(len(word), len(other)) and word[start] == other[start]:
        start += 1
    rest, others = word[start:], other[start:]
    if len(word) == len(other):
        exchanged = rest[:2] == others[:2][::-1] and rest[2:] == others[2:]
        return exchanged or rest[1:] == others[1:]
    return rest == others[1:] or rest[1:] == others

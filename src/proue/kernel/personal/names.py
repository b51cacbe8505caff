"""Names of people, where words around them say so: a title, « je m’appelle », a role, a form's field, a signature.

No list of first names or surnames: one that nothing announces is not found, unless the same request announced it
elsewhere (`Names`). Pure and linear: one pass looks for a capital, then at the word before it (BEFORE_MAX characters at
most) and, if that announces somebody, at WORDS_MAX words after it.
"""

import re
from typing import NamedTuple

WORDS_MAX, LENGTH_MAX = 6, 40
NAME_MAX, LIST_MAX = 128, 256  # characters of one name, and of those after « MM. »: far less than a reader's OVERLAP
BEFORE_MAX = 48  # characters in which a word may say what it announces
LAST_MAX = 16  # letters of the longest word that announces
LEARNT_MIN = 3  # letters of one word of a name that is known again alone

Span = tuple[int, int]

_ALPHABET = [chr(one) for one in (*range(0x41, 0x5B), *range(0xC0, 0x180)) if chr(one).isalpha()]
UP = "".join(one for one in _ALPHABET if one.isupper())
LETTER = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017f\u0300-\u036f"  # accents of their own too, as macOS writes them
QUOTE, HYPHEN, SPACE = "['’]", "[-\u2010\u2011]", "[ \u00a0\u202f]"
REST = f"[{LETTER}]{{0,{LENGTH_MAX}}}+"
_HEAD = f"(?:[{UP}]{QUOTE})?[{UP}]"
WORD = re.compile(
    f"{_HEAD}{REST}(?:{HYPHEN}(?:{_HEAD}|[{LETTER}]){REST}){{0,3}}+(?![0-9{LETTER}_@])(?!{QUOTE}(?!s\b)[{LETTER}])"
)
INITIALS = re.compile(rf"(?:[{UP}]h?\.(?:{HYPHEN}|{SPACE})?){{1,3}}+(?=[{UP}dvel])")
LINKS = (
    "de la|de l['’]|de|du|des|d['’]|van den|van der|van de|van|von der|von|zu|ter|ben|bin|bint|ibn|el|al|aït|ait|ould|"
    "da|dos|das|di|del|della|le|la"
)
PARTICLE = re.compile(rf"(?:{LINKS})(?:(?<=['’])|{SPACE}|{HYPHEN})(?=[{UP}])", re.IGNORECASE)
LOWER = re.compile(rf"(?![\u0300-\u036f])[{LETTER}]{{2,{LENGTH_MAX}}}+(?:{HYPHEN}{REST})?+(?=\s*(?:[,;|\n\"”]|\Z))")
GAP = re.compile(f"{SPACE}(?={SPACE}?[^ ])")
AND = re.compile(rf"{SPACE}?,{SPACE}?(?:et{SPACE})?|{SPACE}(?:et|and|&){SPACE}")
LINE_END = re.compile(rf"{SPACE}{{0,4}}(?:\Z|[\r\n,;|(<\"”]|[-–—\u2022]|\.{SPACE}{{0,4}}(?:\Z|[\r\n]))")
GREETED = re.compile(rf"{SPACE}?(?:[,!\r\n]|\Z)")

# What stands where a name would, and is none.
_PEOPLE = """
    m mm mr mme mmes mlle mlles mrs ms dr pr me monsieur madame mademoiselle messieurs mesdames maître docteur
    docteure professeur professeure président présidente directeur directrice recteur rectrice ministre maire
    préfet préfète doyen doyenne chef cheffe responsable secrétaire étudiant étudiante étudiants étudiantes
    élève élèves candidat candidate enseignant enseignante chercheur chercheuse doctorant doctorante agent
    agente collègue collègues ami amis amie amies client cliente clients tous toutes tout chers membre membres
    équipe vice ingénieur ingénieure technicien assistant assistante commissaire inspecteur inspectrice
    procureur juge avocat avocate général colonel proviseur principal délégué déléguée conseiller conseillère
    gestionnaire premier première sir madam team all everyone there professor
"""  # people's functions and forms of address
_PLACES = """
    université universités institut instituts école écoles faculté facultés laboratoire département service
    services direction bureau scolarité rectorat académie lycée collège hôpital centre clinique fondation
    association société mairie préfecture ministère conseil comité commission cour tribunal agence caisse pôle
    france français française européen européenne europe campus bibliothèque bâtiment salle amphi rue avenue
    boulevard place cnrs inserm inrae urssaf crous cnous caf cpam ufr iut insa ens drh dsi sciences lettres
    droit médecine master licence doctorat but bts dut paris lyon
"""  # institutions and places
_MATTERS = """
    affaires systèmes ressources relations formation formations recherche enseignement pédagogie communication
    finances qualité projet projets produit programme catégorie grade erasmus parcoursup moodle internet word
    excel note notes objet date lieu adresse téléphone email mail nom noms prénom prénoms âge sexe numéro
    ville pays signature ine fonction rôle titre statut type ouvrage œuvre honoris propre rh ia si it pc td tp
    cm chatgpt copilot gpt mistral proue
"""  # matters and objects
_OPENINGS = """
    je tu il elle on nous vous ils elles le la les l un une des du de ce cette ces mon ma mes ton votre vos
    notre nos sa son ses leur leurs et ou mais donc or ni car si que qui quoi où quand comment pourquoi
    bonjour bonsoir bonne bon bien merci cordialement cdlt cdt salutations sincèrement respectueusement pour
    par sur dans en avec sans selon depuis après avant voici voilà oui non pas ne est sont inconnu inconnue
    obligatoire facultatif champ compléter remplir néant aucun aucune string null none true false text value
    public publique sociale santé best kind regards yours the to from and my your lundi mardi mercredi jeudi
    vendredi samedi dimanche janvier février mars avril mai juin juillet août septembre octobre novembre
    décembre dieu noël
"""  # words that begin a sentence, a line or a closing
STOP = frozenset(f"{_PEOPLE} {_PLACES} {_MATTERS} {_OPENINGS}".split())


class Rule(NamedTuple):
    """What a word announces. `least`: words that make a name then."""

    least: int = 1
    before: re.Pattern[str] | None = None  # what must stand before the word
    between: re.Pattern[str] | None = None  # it and the name
    until: re.Pattern[str] | None = None  # what must follow the name
    particle: bool = False  # the name may begin with one
    many: bool = False  # « MM. Bertrand et Vasseur »
    street: bool = False  # « rue du Docteur Roux » is a street
    lower: bool = False  # « prénom : léa »
    acronym: bool = True  # four capitals are a name of one word


def _ends(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|[^{LETTER}])(?:{pattern})\Z", re.IGNORECASE)


BREAK = re.compile(rf"\.?(?:{SPACE}{{1,2}}|{SPACE}?\r?\n{SPACE}?)|\.")
COMMA = re.compile(rf"(?:\))?,?{SPACE}?(?:\r?\n)?{SPACE}?")
COLON = re.compile(rf"\)?[\"”*_]{{0,3}}{SPACE}?[:=]{SPACE}?[\"“*_]{{0,3}}{SPACE}{{0,2}}")
CLOSED = re.compile(rf"{SPACE}?(?:[,.!]{SPACE}|[,.!]?{SPACE}?\r?\n[ \u00a0\r\n\-–—]*)")  # fmt: skip
THE = _ends("(?:le|la|cet|cette|ce) |l['’]")
MINE = _ends("(?:mon|ma|ton|ta|son|sa|notre|votre|leur) ")
WRITE = (
    "(?:écri[a-z]{1,4}|répond[a-z]{1,3}|téléphoner|transmett?[a-z]{1,3}|adresser)"
    "(?: un (?:courriel|mail|message|mot|SMS))? "
)
BY = (
    "(?:encadr|dirig|supervis|représent|sign|rédig|envoy|remplac|évalu|tutor|accompagn|présent|dépos|établ|transm|"
    "soutenu|suivi)"
    "(?:ée?s?|ie?s?|ise?s?|es?)? "
)

_ROLES = """
    étudiant étudiante élève doctorant doctorante candidat candidate patient patiente salarié salariée
    stagiaire apprenti apprentie lycéen lycéenne collègue enseignant enseignante chercheur chercheuse tuteur
    tutrice encadrant encadrante référent référente président présidente directeur directrice recteur rectrice
    doyen doyenne ministre secrétaire gestionnaire responsable infirmier infirmière assistant assistante
    avocat avocate requérant requérante plaignant plaignante victime témoin rapporteur rapporteure auteur
    auteure autrice signataire bénéficiaire intéressé intéressée agent agente maire préfet préfète docteur
    docteure professeur professeure maître thèse cours adjoint adjointe
"""
_KIN = """
    fils fille frère sœur mari femme épouse époux conjoint conjointe compagne compagnon père mère enfant
    copine copain ami amie collègue binôme voisin voisine nièce neveu cousin cousine
"""
_TABLE = (
    ("m mr mrs ms miss mgr mme mlle monsieur madame mademoiselle", [Rule(between=BREAK, particle=True)]),
    ("mm mmes mlles messieurs mesdames mesdemoiselles", [Rule(between=BREAK, particle=True, many=True)]),
    ("dr dre pr pre prof me", [Rule(between=BREAK, street=True)]),
    ("docteur docteure professeur professeure maître", [Rule(between=BREAK, street=True)]),
    (_KIN, [Rule(before=MINE, between=BREAK)]),
    (
        _ROLES,
        [
            Rule(before=THE, between=BREAK, street=True, acronym=False),
            Rule(least=2, between=COMMA, street=True),
            Rule(least=2, between=COLON),
        ],
    ),
    (
        """
        étudiants étudiantes élèves doctorants doctorantes candidats candidates patients patientes stagiaires
        collègues enseignants enseignantes agents agentes professeurs professeures
        """,
        [Rule(least=2, between=COMMA, many=True)],
    ),
    (
        """
        demandeur demandeuse rédacteur rédactrice interlocuteur interlocutrice contact participant
        participante invité invitée expéditeur expéditrice destinataire de à cc from to signé
        """,
        [Rule(least=2, between=COLON)],
    ),
    ("appelle", [Rule(before=_ends("je m['’]"), between=BREAK, particle=True), Rule(2, _ends("s['’]"), BREAK)]),
    ("nomme prénomme", [Rule(before=_ends("je me "), between=BREAK, particle=True), Rule(2, _ends("se "), BREAK)]),
    ("est", [Rule(before=_ends("mon (?:pr[ée])?nom "), between=BREAK, particle=True)]),
    ("is", [Rule(before=_ends("my name "), between=BREAK)]),
    ("soussigné soussignée soussignés soussignées", [Rule(between=COMMA, particle=True, many=True)]),
    ("suis", [Rule(2, _ends("je "), BREAK)]),
    ("ici nommé nommée dénommé dénommée prénommé prénommée", [Rule(2, between=BREAK)]),
    ("contacter joindre prévenir relancer convoquer rencontrer remercier", [Rule(2, between=BREAK)]),
    ("certain certaine", [Rule(2, _ends("une? "), BREAK)]),
    ("à", [Rule(2, _ends(WRITE), BREAK)]),
    ("de", [Rule(2, _ends("à l['’]attention |de la part |au nom "), BREAK)]),
    ("par", [Rule(2, _ends(BY), BREAK)]),
    ("née épouse veuve vve", [Rule(between=BREAK, particle=True)]),
    (
        """
        cordialement cdlt cdt salutations distinguées respectueuses cordiales meilleures meilleurs distingués
        respectueux respectueusement sincèrement amicalement merci avance beaucoup bientôt bises regards
        sincerely truly yours
        """,
        [Rule(between=CLOSED, until=LINE_END)],
    ),
    ("vous toi", [Rule(before=_ends("bien à "), between=CLOSED, until=LINE_END)]),
    ("journée soirée réception semaine", [Rule(before=_ends("bonne |fin de "), between=CLOSED, until=LINE_END)]),
    ("bonjour bonsoir salut coucou cher chère rebonjour hello hi dear", [Rule(between=BREAK, until=GREETED)]),
)


def _rules() -> dict[str, list[Rule]]:
    made: dict[str, list[Rule]] = {}
    for words, rules in _TABLE:
        for word in words.split():
            made.setdefault(word, []).extend(rules)
    return made


RULES = _rules()
BETWEEN = ' \u00a0\u202f\r\n:=.,!*"“”_)-–—'
BETWEEN_MAX = 8
CAPITAL = re.compile(rf"[{UP}](?<=[{re.escape(BETWEEN)}'’].)")
LINK_WORDS = frozenset(re.findall(rf"[{LETTER}]{{2,}}", LINKS))
SPEAKING = RULES.keys() | LINK_WORDS | {"e"}
LINKED_MAX = 3  # « van der », « de la »: particles between what announces and a capital
_OF = (
    "de famille|de naissance|d['’]usage|d['’]épouse|de jeune fille|marital|patronymique|complet|usuel|"
    "(?:et|/|,|ou) ?pr[ée]noms?|et nom|"
    "(?:du|de la|de l['’]) ?(?:étudiante?|élève|candidate?|patiente?|signataire|stagiaire|père|"
    "mère|tuteur|tutrice|responsable(?: légale?)?|salariée?|agente?|demandeu(?:r|se)|enseignante?)"
)
FIELD = re.compile(
    rf"[nN](?:(?<![{LETTER}].)|(?<=pr[ée]n)|(?<=PR[ÉE]N)|(?<=Pr[ée]n))"
    rf"(?i:oms?(?: (?:{_OF})){{0,2}}){COLON.pattern}(?=[{LETTER}])"
)
FIELD_RULE = Rule(particle=True, lower=True)
STREET = re.compile(
    r"(?:rue|avenue|boulevard|place|allée|impasse|quai|square|cours|chemin|route|lycée|collège|école|hôpital|bâtiment|"
    r"salle|amphi(?:théâtre)?|résidence|université|institut|fondation|prix|parc|pont|stade|gymnase|clinique|centre)"
    rf"{SPACE}(?:du |de la |de l['’]|des |d['’])?\Z",
    re.IGNORECASE,
)
SPACES = re.compile(f"{SPACE}+")
LAST_WORD = re.compile(rf"(?<![{LETTER}])[{LETTER}]++\Z")


def announced(text: str) -> list[Span]:
    """In their order, none over another."""
    found: list[Span] = []
    free = 0
    for match in CAPITAL.finditer(text):
        if match.start() >= free and (some := _before(text, match.start())):
            found += some
            free = found[-1][1]
    found += [span for match in FIELD.finditer(text) for span in _names(text, match.end(), FIELD_RULE)]
    return _apart(found)


def _before(text: str, place: int) -> list[Span]:
    """The names that begin with this capital, or with the particles before it, if a word announces them."""
    for _ in range(1 + LINKED_MAX):
        if place <= 0:
            return []
        if text[place - 1] in "'’":
            if text[place - 2 : place - 1] not in {"d", "l"}:
                return []
            place -= 2
        low = max(place - LAST_MAX - BETWEEN_MAX - 1, 0)
        stem = text[low:place].rstrip(BETWEEN)
        word = stem[stem.rfind(" ") + 1 :].lower()
        if word.isalpha() and word not in SPEAKING:  # most
            return []
        last = LAST_WORD.search(stem, max(len(stem) - LAST_MAX, 0))
        if last is None:
            return []
        gap = place - low - len(stem)
        word = last[0].lower()
        if gap <= BETWEEN_MAX and (found := _after(text, word, place - gap - len(last[0]), place)):
            return found
        if word not in LINK_WORDS:
            return []
        place -= gap + len(word)
    return []


def _after(text: str, word: str, start: int, place: int) -> list[Span]:
    rules, end = RULES.get(word), start + len(word)
    if word == "e" and text[start - 1 : start] == "(":  # soussigné(e)
        whole = LAST_WORD.search(text, max(start - 1 - LAST_MAX, 0), start - 1)
        rules, start = (RULES.get(whole[0].lower()), whole.start()) if whole else (None, start)
    if rules is None and word[0] in "nrt" and text[start - 1 : start] == "\\":  # JSON inside a JSON string: \nMme …
        rules, start = RULES.get(word[1:]), start + 1
    for rule in rules or ():
        if _announces(rule, text, start, text[end:place]) and (found := _names(text, place, rule)):
            return found
    return []


def _announces(rule: Rule, text: str, start: int, between: str) -> bool:
    before = text[max(start - BEFORE_MAX, 0) : start]
    return (
        (rule.between is None or rule.between.fullmatch(between) is not None)
        and (rule.before is None or rule.before.search(before) is not None)
        and not (rule.street and STREET.search(before))
    )


def _names(text: str, place: int, rule: Rule) -> list[Span]:
    found: list[Span] = []
    last = place + LIST_MAX
    while place < last:
        end = _name(text, place, rule)
        if end is None or end - place > NAME_MAX:
            break
        found.append((place, end))
        further = AND.match(text, end) if rule.many else None
        if further is None:
            break
        place = further.end()
    return found


def _name(text: str, place: int, rule: Rule) -> int | None:
    """Where the name that begins here ends."""
    end = words = 0
    here, only = place, ""
    while words < WORDS_MAX:
        linked = PARTICLE.match(text, here) if words or rule.particle else None
        if linked is None and not words:
            linked = PARTICLE.match(text, here) if text[here : here + 1].isupper() else None
        if linked and not words and linked[0][:-1] in {"le", "la"}:
            break  # « M. le Conservateur » is a function far oftener than « M. le Goff » is a name
        begun = linked.end() if linked else here
        initials = INITIALS.match(text, begun)
        if initials and not words and initials[0].startswith("M."):
            break  # a title, which announces by itself
        if initials:
            begun = initials.end()
            later = PARTICLE.match(text, begun)
            linked, begun = (later, later.end()) if later else (linked, begun)
        word = WORD.match(text, begun)
        if word is None or _stops(word[0]) or (linked and _acronym(word[0], linked[0])):
            break
        only, end = word[0], word.end()
        words += 2 if initials else 1
        gap = GAP.match(text, end)
        if gap is None:
            break
        here = gap.end()
    if words < rule.least or (words == 1 and not rule.acronym and only.isupper() and len(only) < 5):
        low = LOWER.match(text, place) if rule.lower and not words else None
        return low.end() if low and not _stops(low[0]) else None
    if rule.until and not rule.until.match(text, end):
        return None
    return end


def _stops(word: str) -> bool:
    return len(word) < 2 or not STOP.isdisjoint((word.lower(), *JOINED.split(word.lower())))


JOINED = re.compile(f"{QUOTE}|{HYPHEN}")


def _acronym(word: str, link: str) -> bool:
    """« de la DRH », « du CNRS »; not « DE LA TOUR »."""
    return word.isupper() and len(word) < 6 and not link.isupper()


GLUED = re.compile(rf"[0-9{LETTER}_@/\\]")


class Names:
    """Of one request: a name that was announced anywhere is known again wherever it stands, and each of its words."""

    __slots__ = ("_announced", "_first", "_known")

    def __init__(self) -> None:
        self._announced: dict[str, list[Span]] = {}  # text → what was read in it
        self._known: set[str] = set()
        self._first: set[str] = set()  # words that begin one of them

    def learn(self, text: str) -> None:
        found = self._announced[text] = announced(text)
        for start, end in found:
            name = text[start:end]
            self._known.add(_plain(name))
            for word in WORD.finditer(name):
                if len(word[0]) >= LEARNT_MIN and not _stops(word[0]) and word[0].lower() not in LINK_WORDS:
                    self._known.add(_plain(word[0]))
                    self._first.add(_plain(word[0]))

    def spans(self, text: str) -> list[Span]:
        found = self._announced.get(text)
        if found is None:
            found = announced(text)
        if not self._first:
            return found
        again: list[Span] = []
        end = 0
        for word in WORD.finditer(text):
            start = word.start()
            if start >= end and _plain(word[0]) in self._first and not GLUED.match(text[start - 1 : start]):
                end = self._longest(text, word)
                again.append((start, end))
        return _apart(found + again)

    def _longest(self, text: str, word: re.Match[str]) -> int:
        """Where the longest name that is known and begins with this word ends."""
        end = here = word.end()
        for _ in range(WORDS_MAX - 1):
            gap = GAP.match(text, here)
            if gap is None:
                break
            linked = PARTICLE.match(text, gap.end())
            further = WORD.match(text, linked.end() if linked else gap.end())
            if further is None:
                break
            here = further.end()
            if _plain(text[word.start() : here]) in self._known:
                end = here
        return end


def _plain(text: str) -> str:
    return SPACES.sub(" ", text).replace("’", "'").casefold()


def _apart(found: list[Span]) -> list[Span]:
    """Of two that touch, the one that begins first, or the longer."""
    kept: list[Span] = []
    for one in sorted(found, key=lambda span: (span[0], -span[1])):
        if not kept or one[0] >= kept[-1][1]:
            kept.append(one)
    return kept

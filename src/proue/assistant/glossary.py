"""Words that people use and documents do not: a little English of universities, a little spoken French. Pure."""

import re
from collections.abc import Mapping

from proue.assistant.phrases import Language

# Longest first when applied. What is not here is left as it stands: names are the same in both languages.
ENGLISH: Mapping[str, str] = {
    "academic calendar": "calendrier universitaire",
    "academic year": "année universitaire",
    "annual leave": "congés",
    "gap year": "césure",
    "leave of absence": "césure",
    "student card": "carte d'étudiant",
    "student id": "carte d'étudiant",
    "student health": "santé étudiante",
    "tuition fees?": "droits d'inscription",
    "registration fees?": "droits d'inscription",
    "enrol?ment fees?": "droits d'inscription",
    "internship agreement": "convention de stage",
    "placement agreement": "convention de stage",
    "thesis committee": "comité de suivi de thèse",
    "thesis defen[cs]e": "soutenance de thèse",
    "resit exam": "rattrapage",
    "research data": "données de la recherche",
    "data management plan": "plan de gestion de données",
    "personal data": "données personnelles",
    "open science": "science ouverte",
    "open access": "accès ouvert",
    "extra time": "tiers temps",
    "note taker": "preneur de notes",
    "generative ai": "intelligence artificielle générative",
    "emergency (?:aid|grant|fund)": "aide d'urgence",
    "two[- ]factor": "double authentification",
    "working from home": "télétravail",
    "work from home": "télétravail",
    "remote work(?:ing)?": "télétravail",
    "bicycles?|bikes?": "vélo",
    "scholarships?|grants?": "bourse",
    "telework(?:ing)?": "télétravail",
    "duplicate|replacement|new one": "duplicata",
    "lost|lose": "perte",
    "enrol(?:l|ment|lment|led|ling)?s?|register(?:ed|ing)?|registration": "inscription inscrire",
    "apply|application|request": "demande",
    "exam(?:s|ination|inations)?": "examen",
    "resits?|retakes?": "rattrapage",
    "absences?|absent|missed|miss": "absence",
    "justify|justification|excuse": "justifier",
    "holidays?|vacations?": "vacances congés",
    "leave": "congés",
    "thesis": "thèse",
    "phd|doctorate|doctoral": "doctorat thèse",
    "bachelor(?:'s|s)?|undergraduate": "licence",
    "master(?:'s|s)?": "master",
    "degree|diploma": "diplôme",
    "transcripts?": "relevé de notes",
    "internships?|placements?": "stage",
    "abroad|foreign": "étranger",
    "library|libraries": "bibliothèque",
    "books?": "livres",
    "borrow": "emprunter",
    "housing|accommodation|dorm(?:itory)?": "logement résidence",
    "rent": "loyer",
    "disabilit(?:y|ies)|disabled": "handicap",
    "accommodations": "aménagements",
    "cheating|fraud": "fraude",
    "plagiarism": "plagiat",
    "password": "mot de passe",
    "phishing": "hameçonnage",
    "mailbox|email": "messagerie courriel",
    "fees?|tuition": "droits",
    "refund(?:ed)?|reimburse(?:d|ment)?": "remboursement",
    "deadline": "date limite délai",
    "price|cost": "prix coûte",
    "days?": "jours",
    "weeks?": "semaine",
    "hours?": "heures",
    "months?": "mois",
    "members?": "membres",
    "committee": "comité",
    "defen[cs]e": "soutenance",
    "elections?": "élections",
    "vote|voting": "vote",
    "rooms?": "salle",
    "parking": "parking",
    "boat|ferry": "bateau traversée",
    "psychologist": "psychologue",
    "health": "santé",
    "student unions?|clubs?|societ(?:y|ies)": "association étudiante",
    "students?": "étudiant",
    "staff|employees?": "agent personnel",
    "business trip|mission": "mission",
    "transfer": "transfert dossier",
    "ship|card": "carte",
    "late": "retard",
    "rules?|regulations?": "règlement",
    "university": "université",
}
EMPTY_ENGLISH = re.compile(
    r"\b(?:the|is|are|was|what|how|when|where|who|which|why|do|does|did|can|could|i|my|me|to|of|for|in|on|at|and|or|a|an"
    r"|with|from|have|has|had|please|tell|should|would|will|it|if|not|you|your|there|much|many|long|get|take|took|need"
    r"|want|by|per|be|been|this|that|am|any|we|our|they|their|must|may|im|about|as|into|go|make|happens?)\b",
    re.IGNORECASE,
)
SPOKEN: Mapping[str, str] = {
    r"(?:ai|a|avons|as)[- ](?:je|tu|t-on|on|nous) (?:le )?droit|j['’ ]?ai (?:le )?droit|on a (?:le )?droit": " ",
    r"rat(?:er|é|e|ée|és)|loup(?:er|é|ée)|manqu(?:er|é|ée)": "absence rattrapage",
    r"partiels?": "examen épreuve",
    r"fils|gosses?": "enfant",
    r"exams?": "examen",
    r"thune|fric|sous": "argent",
    r"prof": "enseignant",
    r"IA": "IA intelligence artificielle",
    r"BU": "bibliothèque BU",
}


def _compiled(words: Mapping[str, str]) -> tuple[re.Pattern[str], list[str]]:
    ordered = sorted(words, key=lambda one: -len(one.split()))
    return re.compile("|".join(rf"(\b(?:{one})\b)" for one in ordered), re.IGNORECASE), [words[one] for one in ordered]


_ENGLISH, _SPOKEN = _compiled(ENGLISH), _compiled(SPOKEN)


def in_french(question: str, language: Language) -> str:
    """The question with the words of the documents, for the search only."""
    pattern, said = _ENGLISH if language is Language.ENGLISH else _SPOKEN
    changed = pattern.sub(lambda found: said[(found.lastindex or 1) - 1], question)
    return EMPTY_ENGLISH.sub(" ", changed) if language is Language.ENGLISH else changed


def is_english_term(question: str) -> bool:
    """Every word that means something is of the glossary, and English only."""
    words = EMPTY_ENGLISH.sub(" ", question)
    left = _ENGLISH[0].sub(" ", words)
    return not re.search(r"[^\W\d_]{3,}", left) and in_french(question, Language.ENGLISH).lower() != words.lower()

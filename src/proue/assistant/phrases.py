"""The fixed sentences of the assistant, and the questions that they answer without any search. Pure.

Nothing of what the documents say is here. « Mourir » is never searched for: a person in danger gets a number.
"""

import re
from enum import StrEnum

NBSP = "\u00a0"


class Language(StrEnum):
    FRENCH = "fr"
    ENGLISH = "en"


def typeset(text: str) -> str:
    """French typography: no line may part a mark from its word."""
    return re.sub(r" (?=[:;?!»])", NBSP, text).replace("« ", f"«{NBSP}")


def _both(french: str, english: str) -> dict[Language, str]:
    return {Language.FRENCH: typeset(french), Language.ENGLISH: english}


EXAMPLE = typeset("« Quel est le délai pour justifier une absence à un examen ? »")

OPENING = _both(
    "Voici les passages les plus proches dans les documents des communs.",
    "Here are the closest passages in the documents of the commons, quoted in their own language.",
)
OPENING_ONE = _both(
    "Voici le passage le plus proche dans les documents des communs.",
    "Here is the closest passage in the documents of the commons, quoted in its own language.",
)
SEVERAL = _both(
    "Chaque règle ne vaut que dans son établissement.",
    "Each rule holds in its own institution only.",
)
ELSEWHERE = _both(
    "Je n’ai rien trouvé sur ce point dans les documents de votre établissement ; voici ce que disent ceux d’un autre.",
    "I found nothing on this in your institution’s documents; here is what another one’s say, in their own language.",
)
NOT_OF_THE_NAMED = _both(
    "Je n’ai rien trouvé sur ce point dans les documents de l’établissement que vous nommez ; "
    "voici ce que disent ceux d’un autre.",
    "I found nothing on this in the documents of the institution that you name; here is what another one’s say, "
    "in their own language.",
)
NOTHING = _both(
    "Je n’ai pas trouvé de réponse à cette question dans les communs que vous pouvez lire.\n\n"
    "Je ne réponds qu’en citant des documents, et je préfère ne rien citer plutôt que de citer à côté. "
    "Reformulez avec les mots de votre établissement (« inscription », « bourse », « convention de stage »…), "
    "précisez de quel établissement il s’agit, ou demandez à votre service de scolarité, "
    "à votre bibliothèque ou au référent Proue de votre établissement.",
    "I found no answer to this question in the commons that you may read.\n\n"
    "I only answer by quoting documents, and I would rather quote nothing than quote beside the point. "
    "The documents are in French: try French words (“inscription”, “bourse”, “convention de stage”…), "
    "name the institution, or ask your registrar’s office, your library or your institution’s Proue contact.",
)
NO_DOCUMENT_OF = _both(
    "Je n’ai aucun document de l’établissement « {name} » dans les communs que vous pouvez lire, "
    "et la règle d’un autre n’y répondrait pas. Adressez-vous à cet établissement.",
    "I have no document of “{name}” in the commons that you may read, and another institution’s rule would not "
    "answer. Please ask that institution.",
)
CLOSEST = _both("Les documents les plus proches :", "The closest documents:")
SEARCH = _both("Chercher dans les communs", "Search the commons")

HELLO = _both(
    "Bonjour. Je réponds aux questions sur la vie universitaire en citant les documents des communs, "
    f"avec leurs sources. Posez-moi une question entière, par exemple : {EXAMPLE}",
    "Hello. I answer questions about university life by quoting the documents of the commons, with their sources. "
    f"The documents are in French. Ask a whole question, for instance: {EXAMPLE}",
)
THANKS = _both(
    "Je vous en prie. Posez-moi une autre question quand vous voulez.",
    "You are welcome. Ask me another question whenever you like.",
)
GOODBYE = _both("Au revoir.", "Goodbye.")
HOW_ARE_YOU = _both(
    f"Bonjour. Je suis un programme : je vais toujours de même. Posez-moi une question, par exemple : {EXAMPLE}",
    f"Hello. I am a program: I am always the same. Ask me a question, for instance: {EXAMPLE}",
)
WHO = _both(
    "Je suis l’assistant de Proue, un programme. Je cherche dans les documents des communs que vous pouvez lire, "
    "et je réponds en les citant mot pour mot, avec leurs sources. Je ne rédige pas, je ne calcule pas, "
    "je n’ai pas d’avis, et je le dis quand je ne trouve rien. "
    f"Posez-moi une question sur la vie universitaire, par exemple : {EXAMPLE}",
    "I am Proue’s assistant, a program. I search the documents of the commons that you may read, and I answer by "
    "quoting them word for word, with their sources. I do not write, compute or hold opinions, and I say so when I "
    f"find nothing. Ask me about university life, for instance: {EXAMPLE}",
)
NO_WRITING = _both(
    "Je ne rédige pas, je ne traduis pas et je ne résume pas : je cherche dans les documents des communs "
    "et je les cite. "
    "Un modèle génératif, quand votre établissement en a branché un, le fait.",
    "I do not write, translate or summarise: I search the documents of the commons and quote them. "
    "A generative model does, where your institution has connected one.",
)
SECRET = _both(
    "Je n’ai aucun mot de passe ni aucune clé, et je n’en donne à personne. "
    "Si vous avez perdu le vôtre, demandez-moi comment le changer, ou écrivez à votre service informatique.",
    "I hold no password and no key, and I give none to anybody. "
    "If you have lost yours, ask me how to change it, or write to your IT service.",
)
DISTRESS = _both(
    "Ce que vous dites compte, et vous n’avez pas à rester seul avec cela.\n\n"
    "Appelez le 3114, le numéro national de prévention du suicide : gratuit, confidentiel, "
    "ouvert 24 heures sur 24 et 7 jours sur 7. En cas d’urgence, appelez le 15 ou le 112.\n\n"
    "Vous pouvez aussi parler dès maintenant à une personne de confiance, et au service de santé étudiante "
    "de votre établissement. Je ne suis qu’un programme qui cite des documents : "
    "je ne peux pas vous aider comme une personne.",
    "What you say matters, and you do not have to stay alone with it.\n\n"
    "In France, call 3114, the national suicide prevention line: free, confidential, 24 hours a day, 7 days a week. "
    "In an emergency, call 15 or 112.\n\n"
    "You can also talk now to somebody you trust, and to your institution’s student health service. "
    "I am only a program that quotes documents: I cannot help you as they can.",
)

_POLITE = r"(?:bonjour|bonsoir|salut|coucou|hello|hi|hey)"
# The first that matches a whole question answers it: distress before anything else.
SMALL_TALK: tuple[tuple[re.Pattern[str], dict[Language, str]], ...] = tuple(
    (re.compile("".join(parts), re.IGNORECASE), said)
    for parts, said in (
        (
            [
                r".*(?:\b(?:veux|voudrais|vais|envie de|pens\w+ [àa]) (?:mourir|me tuer|en finir|crever|me suicider)\b",
                r"|\bsuicidaire|\bme suicider|\bmettre fin [àa] mes jours|\benvie de (?:plus|ne plus) vivre",
                r"|\b(?:veux|peux) plus vivre|\bme faire du mal|\bplus envie de vivre",
                r"|\bkill myself|\bsuicidal|\bwant to die|\bend my life|\bhurt myself).*",
            ],
            DISTRESS,
        ),
        ([rf"\W*(?:{_POLITE}|test|ping)(?:\W+(?:à tous|tout le monde|madame|monsieur|there))?\W*"], HELLO),
        (
            [
                r"\W*(?:(?:ok|d['’ ]accord|super|parfait|très bien)\W+)?(?:merci|thanks?|thank you)",
                r"(?:\W+(?:beaucoup|bien|you|a lot|à vous|à toi|pour tout|pour votre aide))?\W*",
            ],
            THANKS,
        ),
        ([r"\W*(?:au revoir|bonne (?:journée|soirée|nuit)|bye|goodbye|à bientôt)\W*"], GOODBYE),
        (
            [
                rf"\W*(?:{_POLITE}\W+)?(?:(?:comment )?(?:[çc]a va|allez[- ]vous|vas[- ]tu)|how are you)",
                r"(?:\W+(?:bien|today))?\W*",
            ],
            HOW_ARE_YOU,
        ),
        (
            [
                rf"\W*(?:{_POLITE}\W+)?(?:",
                r"(?:qui|qu['’ ]?est[- ]ce que?|tu es|vous [eê]tes)\W*",
                r"(?:es[- ]tu|[eê]tes[- ]vous|tu es|vous [eê]tes|qui|quoi)",
                r"|t['’ ]?es qui|c['’ ]est quoi proue|qu['’ ]est[- ]ce que proue",
                r"|(?:que|qu['’ ]est[- ]ce que|quoi)?\W*",
                r"(?:sais|peux|fais|savez|pouvez|faites)[- ](?:tu|vous)(?: faire)?",
                r"|(?:qu['’ ]est[- ]ce que )?(?:tu|vous) (?:sais|peux|fais|savez|pouvez|faites)(?: faire)?(?: quoi)?",
                r"|(?:es[- ]tu|[eê]tes[- ]vous) (?:une? )?",
                r"(?:ia|robot|humain\w*|intelligence artificielle|programme|chatgpt)",
                r"|comment (?:tu t['’ ]appelles|t['’ ]appelles[- ]tu|vous appelez[- ]vous)",
                r"|quel est (?:ton|votre) nom|who are you|what are you|what can you do",
                r"|what is your name|what do you do",
                r"|aide|help|aide[- ]moi)\W*",
            ],
            WHO,
        ),
        (
            [
                rf"\W*(?:{_POLITE}\W+)?",
                r"(?:[ée]cris|r[ée]dige|traduis|r[ée]sume|raconte|compose|corrige|invente|write|translate)",
                r"\b[- ](?:moi|une?|la|le|ce|cet|cette|mon|ma|«|me|an?|my|this)\b.*|\W*(?:traduis|translate)\b.*",
            ],
            NO_WRITING,
        ),
        (
            [
                r".*\b(?:donne|montre|dis|envoie|r[ée]v[èe]le|affiche|donnez|give|show|tell)\w*[- ](?:moi|me)?\b.*",
                r"\b(?:mots? de passe|password|cl[ée] (?:api|secr[èe]te|priv[ée]e)|api key",
                r"|prompt syst[èe]me|system prompt)\b.*",
            ],
            SECRET,
        ),
    )
)


def fixed(question: str) -> dict[Language, str] | None:
    """What answers these words whatever the commons hold; None for a question to search."""
    plain = " ".join(question.split())
    return next((said for pattern, said in SMALL_TALK if pattern.fullmatch(plain)), None)

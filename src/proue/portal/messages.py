"""Every refusal in a sentence: what happened, what it means, what to do. A test holds it against all of them."""

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from proue.kernel.refusal import Refusal

MAX_DETAIL = 200

SENTENCES: Mapping[str, Promise] = {
    "refused": _("Cette demande ne peut pas être satisfaite. Revenez en arrière et vérifiez ce que vous avez saisi."),
    "not_found": _("Cette page n’existe pas, ou elle ne vous est pas ouverte."),
    "changed_meanwhile": _(
        "Quelqu’un a modifié cet objet entre-temps. Relisez la nouvelle version avant de recommencer."
    ),
    "not_allowed": _(
        "Votre rôle ne permet pas cette action. La personne référente de votre établissement peut vous l’ouvrir."
    ),
    "ledger.key_unreadable": _(
        "La clé qui signe ne s’ouvre pas : elle a été enregistrée sous une autre PROUE_SECRET_KEY. Rien n’a été signé. "
        "Rendez cette valeur à l’instance, ou ouvrez une nouvelle clé avec « proue ledger rotate »."
    ),
    "institution.bad_uai": _("« {uai} » n’est pas un code UAI : il compte sept chiffres et une lettre."),
    "institution.bad_student_number": _(
        "« {shape} » n’est pas la forme d’un numéro d’étudiant. Écrivez # pour un chiffre et @ pour une lettre, comme "
        "e#######."
    ),
    "alliance.already_member": _("{uai} est déjà membre de l’alliance."),
    "alliance.not_a_member": _("{uai} n’est pas membre de l’alliance : il n’y a rien à quitter."),
    "role.already_held": _(
        "Cette personne a déjà ce rôle à ces dates. Mettez fin au premier avant d’en ouvrir un autre."
    ),
    "person.second_factor_needed": _(
        "Votre rôle ouvre des portes à d’autres : il demande un second facteur. Activez-le dans votre compte."
    ),
    "supply.bad_code": _(
        "« {value} » ne peut pas servir de code : employez des minuscules, des chiffres, des tirets, des points."
    ),
    "supply.bad_country": _("« {value} » n’est pas un code de pays : deux lettres capitales, comme FR."),
    "supply.unknown_word": _("« {word} » n’est pas un mot connu ici. Choisissez dans la liste proposée."),
    "endpoint.bad_address": _(
        "Cette adresse ne peut pas être celle d’un moteur : elle commence par http://, https:// ou unix:/, "
        "sans mot de passe, ou c’est node: et le code du moteur."
    ),
    "endpoint.bad_node_key": _(
        "Une clé de nœud s’écrit « ed25519:… » et va avec l’adresse « node:{endpoint} », et avec nulle autre."
    ),
    "endpoint.bad_description": _("La description du moteur contient un champ ou une valeur illisible : « {key} »."),
    "endpoint.owner_missing": _("Un moteur réservé a un propriétaire : dites à quel établissement il est."),
    "endpoint.capacity_missing": _(
        "Qui passe d’abord, ou a sa part, n’a de sens que si d’autres attendent : dites combien de demandes ce moteur "
        "sert bien à la fois."
    ),
    "endpoint.bad_capacity": _("Un moteur sert de 1 à {most} demandes à la fois."),
    "endpoint.bad_share": _("Une part revient à un établissement déclaré et va de 1 à 100 %."),
    "endpoint.shares_above_all": _("Ensemble, les parts font {total} % de la capacité : 100 % au plus."),
    "model.is_an_alias": _("« {name} » est déjà un alias : ses clients changeraient de modèle sans le savoir."),
    "alias.is_a_model": _("« {name} » est déjà un modèle. Donnez un autre nom à l’alias."),
    "alias.of_nothing": _("Le modèle « {model} » n’est pas déclaré. Vérifiez son nom."),
    "alias.unannounced": _(
        "Cet alias désigne « {current} ». Pour qu’il désigne « {model} », annoncez un jour à venir."
    ),
    "retirement.in_the_past": _("Ce jour est passé : un retrait s’annonce. Choisissez un jour à venir."),
    "retirement.sooner": _("Un retrait annoncé se reporte ou s’annule, et ne s’avance pas."),
    "model.bad_shape": _(
        "Les paramètres et les experts d’un modèle sont positifs, et ceux qui sont actifs ne dépassent pas le total."
    ),
    "use.ceiling_below_class": _(
        "Le plafond de cet usage est sous sa propre classe de données. Relevez le plafond ou abaissez la classe."
    ),
    "use.names_for_nothing": _(
        "Cet usage laisse tout passer : il ne cherche aucun nom. Choisissez d’abord ce qu’il fait de ce qu’il trouve."
    ),
    "use.persons_missing": _(
        "Un usage à régime restrictif dit qui s’en sert. Nommez au moins une personne, par l’adresse de son compte."
    ),
    "use.persons_for_nothing": _("Seul un usage à régime restrictif nomme ses personnes. Retirez la liste."),
    "use.no_assistant": _(
        "Un usage à régime restrictif n’a pas d’assistant : rien de ce qui s’y écrit n’est gardé ici. Retirez-le."
    ),
    "key.person_not_named": _(
        "Cet usage à régime restrictif ne donne de clé qu’aux personnes qu’il nomme. La personne qui gère l’usage peut "
        "vous y ajouter."
    ),
    "laboratory.no_key": _(
        "{institution} n’a aucune clé en service d’un usage à régime restrictif. Déclarez l’usage et les clés de ses "
        "personnes, puis recommencez."
    ),
    "laboratory.no_machine": _(
        "Aucune machine habilitée au régime restrictif ne sert les modèles de ces usages. Déclarez celle du "
        "laboratoire."
    ),
    "laboratory.unknown_name": _("« {name} » n’est pas de ceux que ce fichier peut porter. Vérifiez ce nom."),
    "usage.bad_file": _(
        "Ce fichier de compteurs n’est pas retenu ({why}) : il n’est pas signé, a été modifié ou vient d’une autre "
        "version. Rien n’a été compté. Demandez-le de nouveau au laboratoire."
    ),
    "usage.unknown_laboratory": _(
        "La clé {key} n’est celle d’aucun laboratoire connu de {institution}. Demandez-la-lui par une autre voie que "
        "le fichier (proue usage key), puis donnez-la avec --trust. Rien n’a été compté."
    ),
    "usage.laboratory_of_another": _(
        "La clé {key} est celle d’un laboratoire d’un autre établissement que {institution}. Rien n’a été compté."
    ),
    "usage.not_its_use": _(
        "Ce fichier compte l’usage {use}, qui n’est pas un usage à régime restrictif de {institution}. Rien n’a été "
        "compté."
    ),
    "usage.from_the_future": _(
        "Ce fichier compte des requêtes à venir ({hour}) : l’horloge du laboratoire avance. Rien n’a été compté."
    ),
    "use.moves_institution": _("Ce code d’usage est déjà pris. Choisissez-en un autre."),
    "key.expiry_in_the_past": _("La date d’expiration est déjà passée. Choisissez un jour à venir."),
    "key.secret_too_weak": _("Ce secret est trop court ou mal formé. Laissez Proue en tirer un au hasard."),
    "key.already_held": _("Ce secret ouvre déjà un autre usage. Laissez Proue en tirer un nouveau."),
    "attribute.unknown": _("« {name} » n’est pas un attribut que les contrôles lisent. Choisissez-en un de la liste."),
    "attribute.proof_missing": _("Un attribut vérifié ou mesuré dit par quoi. Donnez la référence de la preuve."),
    "attribute.ends_before_it_starts": _("Cet attribut cesserait de valoir avant de commencer. Corrigez les dates."),
    "attribute.no_value": _("Donnez une valeur : ce que nul ne sait ne se déclare pas."),
    "attribute.not_yet": _("Cet attribut ne vaut pas encore. Déclarez-le à partir du jour où il vaut."),
    "attribute.endpoint_of_another": _(
        "Le moteur « {endpoint} » n’est pas à ce fournisseur. Choisissez-en un des siens."
    ),
    "commitment.not_from_here": _(
        "L’état de cet engagement ne permet pas cette action. Rechargez la page pour le voir."
    ),
    "commitment.no_party": _("Un engagement lie quelqu’un. Nommez au moins une partie."),
    "commitment.ends_before_it_starts": _("Cet engagement cesserait avant de commencer. Corrigez les dates."),
    "commitment.unknown_threshold": _(
        "« {name} » n’est pas un seuil que les contrôles lisent. Choisissez-en un de la liste."
    ),
    "commitment.bad_threshold": _(
        "« {name} » ne peut pas valoir {value} : un seuil est un nombre positif, et une part ne dépasse pas 100 %."
    ),
    "commitment.bad_code": _(
        "« {value} » ne peut pas servir de code : employez des capitales, des chiffres et des tirets, comme AC-2026-01."
    ),
    "commitment.bad_title": _("Donnez un intitulé, de {longest} signes au plus."),
    "commitment.unknown_kind": _(
        "« {value} » n’est ni un contrat, ni une convention, ni un pilote. Choisissez dans la liste."
    ),
    "commitment.already_entered": _("{commitment} est déjà enregistré. Choisissez un autre code, ou ouvrez sa page."),
    "commitment.moves_provider": _(
        "{commitment} lie déjà un autre fournisseur, ou est d’une autre nature. Enregistrez un autre engagement."
    ),
    "commitment.unknown_party": _("« {code} » n’est ni un établissement ni un fournisseur connu. Déclarez-le d’abord."),
    "commitment.unknown_specification": _(
        "Le cahier des charges « {specification} » n’existe pas. Choisissez une version de la liste."
    ),
    "commitment.unknown_clause": _("La clause « {clause} » n’existe pas. Vérifiez son code et sa version."),
    "commitment.unknown_endpoint": _("Le moteur « {endpoint} » n’est pas déclaré. Vérifiez son code."),
    "commitment.endpoint_of_another": _(
        "Le moteur « {endpoint} » n’est pas à ce fournisseur, qui ne s’engage que pour les siens."
    ),
    "requirement.bad_code": _(
        "« {value} » n’est pas un code d’exigence ou de clause : capitales, chiffres et tirets, comme EX-SOV-006."
    ),
    "requirement.unknown_word": _("« {word} » n’est pas un mot connu du cahier des charges. Choisissez dans la liste."),
    "requirement.no_text": _("Une exigence ou une clause vide n’engage personne. Écrivez son texte."),
    "requirement.not_a_consolidated_need": _(
        "Une exigence répond à un besoin consolidé, pas à un besoin tel qu’il a été dit. Choisissez-en un de la liste."
    ),
    "requirement.not_from_here": _(
        "L’état de cette exigence ne permet pas cette action. Rechargez la page pour le voir."
    ),
    "requirement.criterion_without_proof": _(
        "Rien n’a été gelé : des critères d’attribution ne disent pas comment on les vérifie ({requirements}). "
        "Un critère technique demande des preuves. Dites lesquelles."
    ),
    "specification.already_frozen": _(
        "Cette version est gelée, et ne change plus. Ce qui change depuis ira dans la version suivante."
    ),
    "specification.empty": _(
        "Il n’y a rien à geler : aucune clause n’exprime une exigence en vigueur. Déclarez-en d’abord."
    ),
    "clause.expresses_nothing": _("Cette clause n’exprime aucune exigence. Dites laquelle elle exprime."),
    "specification.links_to_read": _(
        "Rien n’a été gelé : des liens sont à relire, parce qu’une de leurs extrémités a changé ({links}). "
        "Confirmez-les ou rompez-les d’abord."
    ),
    "lineage.too_wide": _("La lignée de {reference} est trop large pour une page. Partez d’un objet plus précis."),
    "budget.no_limit": _(
        "Ce budget ne borne rien. Donnez-lui au moins une limite : demandes, jetons, euros, énergie ou gaz."
    ),
    "budget.no_percentage": _("Un budget prévient à partir d’un pourcentage de sa limite : de 1 à 100."),
    "budget.limit_not_positive": _(
        "La limite « {unit} » doit être un nombre plus grand que zéro, entier pour des demandes ou des jetons."
    ),
    "need.not_from_here": _("L’état de ce besoin ne permet pas cette action. Rechargez la page pour le voir."),
    "need.frozen": _(
        "{need} est déjà dans le cahier des charges figé {specification}, qui ne bouge plus. "
        "Dites un nouveau besoin : il entrera dans la version suivante."
    ),
    "need.reason_needed": _("Dites en une phrase pourquoi : le motif restera affiché."),
    "need.nothing_said": _("Rien n’a été écrit. Dites le besoin en une ou deux phrases."),
    "need.too_long": _("Ce texte dépasse {longest} signes. Gardez l’essentiel, ou dites-en plusieurs."),
    "need.bad_code": _("« {value} » n’est pas un code de besoin, comme BC-017 ou BES-0999901A-0042."),
    "need.code_taken": _("Le code « {value} » est déjà donné. Laissez Proue choisir le suivant."),
    "need.bad_path": _("« {path} » n’est pas une adresse de ce site : elle commence par une barre, comme /assistant/."),
    "need.nothing_to_merge": _("Choisissez au moins un besoin, et de quoi le reprendre."),
    "dataset.no_legal_file": _(
        "Aucun texte n’entre sans fiche juridique. Dites qui détient les droits, et sous quelle licence."
    ),
    "dataset.legal_file_incomplete": _("La fiche juridique est incomplète. Il manque : {missing}."),
    "dataset.unknown_licence": _("La licence « {licence} » n’est pas connue ici. Choisissez-en une de la liste."),
    "dataset.licence_forbids": _(
        "La licence « {licence} » ne permet pas tout ce qui est accordé ({purposes}). "
        "Retirez ces usages ou changez de licence."
    ),
    "dataset.audience_forbidden": _(
        "La licence « {licence} » ou les données de ces textes ne permettent pas de les ouvrir à ce public. "
        "Restreignez le public, ou complétez la fiche juridique."
    ),
    "dataset.not_from_here": _(
        "L’état de cette collection ne permet pas cette action. Rechargez la page pour le voir."
    ),
    "dataset.bad_code": _(
        "« {slug} » ne peut pas servir d’adresse : employez des minuscules, des chiffres, des tirets, des points."
    ),
    "dataset.reason_needed": _("Dites en une phrase pourquoi : le motif restera affiché."),
    "dataset.already_received": _("Une collection porte déjà ce nom. Choisissez-en un autre, ou révisez la première."),
    "dataset.review_needed": _(
        "Ce qui sort de l’établissement est partagé par un juriste, pas par qui l’apporte. Remettez-le à l’examen."
    ),
    "dataset.own_deposit": _("Vous avez apporté ce dépôt : une autre personne l’examine."),
    "document.empty": _("Ce document ne contient aucun texte. Vérifiez le fichier, puis recommencez."),
    "document.too_long": _("Ce document dépasse {longest} signes. Coupez-le en plusieurs, puis recommencez."),
    "document.not_from_here": _("L’état de ce document ne permet pas cette action. Rechargez la page pour le voir."),
    "document.reason_needed": _("Dites en une phrase pourquoi ce document est retiré : le motif restera affiché."),
    "citation.quote_not_found": _(
        "Ces mots ne sont pas dans le passage. Une citation se reprend mot pour mot, ou ne se fait pas."
    ),
    "assistant.no_question": _("Aucune question n’a été posée. Écrivez-la, puis recommencez."),
    "assistant.no_use": _(
        "Aucun usage d’assistant ne vous est ouvert. La personne référente de votre établissement peut en déclarer un."
    ),
    "check.bad_code": _("« {value} » ne peut pas être le code d’un contrôle : il s’écrit comme CK-EX-SOV-006-a."),
    "check.bad_expression": _("Cette expression ne peut pas être un contrôle : {why}."),
    "check.reads_unknown_name": _(
        "Ce contrôle lit ce qu’il ne peut pas lire : {names}. Un contrôle lit les noms du dictionnaire ; "
        "celui qui ouvre des routes ne lit que p, c, ref et now, jamais une mesure."
    ),
    "check.gate_meets_the_clock": _(
        "Un contrôle qui ouvre des routes ne compare « now » qu’à des instants, à une durée écrite près : "
        "il faut savoir d’avance quand il les fermera."
    ),
    "check.gate_without_class": _(
        "Un contrôle qui ouvre des routes nomme les classes de données qu’il gouverne ; les autres n’en nomment aucune."
    ),
    "check.unknown_effect": _(
        "« {value} » n’est pas un effet, ou une classe n’est pas connue. Choisissez dans la liste."
    ),
    "check.bad_vector": _("Un cas d’épreuve est illisible ({why}). Il dit un verdict, un instant et ce qui est connu."),
    "check.vectors_missing": _(
        "Il manque des cas d’épreuve : au moins un conforme, un non conforme et un indéterminé."
    ),
    "check.vector_fails": _(
        "Le cas no {number} ne donne pas ce qu’il annonce. Corrigez l’expression ou le cas, puis recommencez."
    ),
    "check.not_from_here": _("L’état de ce contrôle ne permet pas cette action. Rechargez la page pour le voir."),
    "statement.not_from_here": _(
        "L’état de ce constat ne permet pas cette action. Rechargez la page pour voir où il en est."
    ),
    "statement.month_not_over": _(
        "Les mesures de ce mois peuvent encore changer : un constat se confirme à partir du quatrième jour du mois "
        "suivant, quand elles sont définitives."
    ),
    "statement.nothing_agreed": _(
        "L’engagement {commitment} ne liait personne en {month} : il n’y a rien à constater."
    ),
    "statement.dispute_open": _(
        "Un constat de ce mois est contesté et attend une décision. Tranchez-le, puis confirmez le mois."
    ),
    "finding.already_disputed": _(
        "Ce constat est déjà contesté et attend une décision. Lisez la contestation avant d’en ajouter une."
    ),
    "finding.words_needed": _(
        "Dites en quelques phrases pourquoi, en {longest} signes au plus : vos mots restent au constat."
    ),
    "finding.no_correction": _(
        "Corriger un constat, c’est dire ce qu’il devient : un autre verdict que celui qui est contesté. "
        "Une dérogation se demande et se signe à part."
    ),
    "indicator.unknown": _("« {name} » n’est pas une mesure que les contrôles lisent. Choisissez-en une de la liste."),
    "indicator.measured_here": _("« {name} » est compté par la passerelle : personne ne le déclare à sa place."),
    "indicator.bad_value": _("La valeur de « {name} » n’est pas de la forme attendue. Corrigez-la, puis recommencez."),
    "month.unreadable": _(
        "« {value} » n’est pas un mois passé ou en cours : écrivez l’année et le mois, comme 2026-10."
    ),
    "derogation.same_signer": _(
        "Deux personnes signent une dérogation : vous avez déjà signé celle-ci dans l’autre rôle."
    ),
    "derogation.no_end": _("Une dérogation finit un jour à venir, dans un an au plus tard. Choisissez une autre date."),
    "derogation.reason_needed": _(
        "Dites pourquoi, en {longest} signes au plus : le motif sera affiché dans le constat."
    ),
    "derogation.not_from_here": _(
        "L’état de cette dérogation ne permet pas cette action. Rechargez la page pour le voir."
    ),
    "file.purpose_unknown": _("« {purpose} » n’est pas un emploi de fichier connu ici : seul « batch » l’est."),
    "file.missing": _("Aucun fichier n’est venu : envoyez-le dans le champ « file » d’un formulaire."),
    "file.empty": _("Ce fichier est vide. Il lui faut au moins une requête."),
    "file.too_large": _("Ce fichier dépasse {most} Mo. Coupez-le en plusieurs lots."),
    "file.in_use": _("Un lot qui n’est pas fini lit ce fichier. Annulez le lot, ou attendez sa fin."),
    "file.too_many": _("Cet usage garde déjà {most} fichiers. Effacez-en avant d’en envoyer d’autres."),
    "file.bad_expiry": _(
        "« expires_after » attend l’ancre « created_at », et de {least} à {longest} secondes. "
        "Corrigez, puis recommencez."
    ),
    "batch.file_unknown": _(
        "Ce fichier n’existe pas ou plus, n’est pas à cet usage, ou n’a pas été envoyé pour un lot. Envoyez-le d’abord."
    ),
    "batch.endpoint_unknown": _("Un lot ne peut pas demander « {endpoint} ». Choisissez parmi {known}."),
    "batch.endpoint_closed": _("Cette clé ne permet pas « {endpoint} ». Demandez-le à la personne qui gère l’usage."),
    "batch.window_unknown": _("Un lot a un délai de « 24h », et pas d’autre. Corrigez, puis recommencez."),
    "batch.bad_metadata": _(
        "Les métadonnées comptent au plus {most} noms, de {name} signes et de valeurs de {value}. Raccourcissez-les."
    ),
    "batch.too_many": _("Cet usage a déjà {most} lots qui ne sont pas finis. Attendez la fin de l’un d’eux."),
    "batch.not_cancellable": _("Ce lot est fini ou s’achève : il n’y a plus rien à annuler."),
    "batch.line_refused": _("Cette ligne ne peut pas passer dans un lot. Corrigez-la."),
    "batch.no_line": _("Ce fichier ne contient aucune requête. Écrivez-en une par ligne."),
    "batch.too_many_lines": _("Ce fichier compte plus de {most} requêtes. Coupez-le en plusieurs lots."),
    "batch.line_too_long": _("Cette ligne dépasse {most} Mo. Raccourcissez la requête."),
    "batch.line_not_json": _(
        "Cette ligne n’est pas un objet JSON avec « custom_id », « method », « url » et « body ». Corrigez-la."
    ),
    "batch.line_custom_id": _("« custom_id » manque, ou ne compte pas de 1 à {most} signes. Corrigez-le."),
    "batch.line_repeated": _("« {custom_id} » est déjà le « custom_id » d’une autre ligne. Choisissez-en un autre."),
    "batch.line_method": _("« method » vaut toujours POST dans un lot. Corrigez cette ligne."),
    "batch.line_url": _("« {url} » n’est pas l’adresse de ce lot. Demandez la même sur toutes les lignes."),
    "batch.line_body": _("« body » n’est pas une requête avec son « model ». Corrigez cette ligne."),
    "batch.line_model": _(
        "Le modèle « {model} » n’existe pas, ne sait pas faire cela, ou n’est pas ouvert à cet usage. Changez-le."
    ),
    "batch.line_stream": _("Un lot ne répond pas au fil de l’eau. Retirez « stream » de cette ligne."),
    "batch.file_gone": _("Le fichier de ce lot a été effacé avant d’être lu. Envoyez-le de nouveau."),
    "key.already_revoked": _("Cette clé était déjà révoquée : elle n’ouvre plus rien."),
}

# What is wrong with an expression (assurance.rules.BadExpression), inside its sentence.
WHYS: Mapping[str, Promise] = {
    "length": _("elle compte de 1 à {said} signes"),
    "senseless": _("« {said} » n’a pas de sens à cet endroit"),
    "text": _("un texte s’écrit entre guillemets simples ou doubles, sans préfixe"),
    "bare": _("« {said} » seul ne nomme rien, écrivez « {said}.nom »"),
    "decimal": _("le nombre « {said} » s’écrit avec une décimale, « {said}.0 »"),
    "divides": _("on ne divise que par un nombre écrit, plus grand que zéro"),
    "unclosed": _("« {said} » n’est pas refermé"),
    "unopened": _("« {said} » ne referme rien"),
    "nested": _("plus de {said} parcours sont imbriqués"),
    "unbound": _("« {said} » nomme d’abord ce qu’il parcourt, comme dans « {said}(x, …) »"),
    "taken": _("« {said} » veut déjà dire autre chose, choisissez une autre lettre"),
    "unnamed": _("on parcourt une liste qui a un nom, comme « p.models.all(m, …) »"),
    "engine": _("le moteur ne la lit pas ({said})"),
}


def say(refusal: Refusal) -> str:
    """The sentence in the reader's language. Details that it does not name are never shown."""
    template = str(SENTENCES.get(refusal.code, SENTENCES["refused"]))
    details = _Blanks({name: _shown(value) for name, value in refusal.details.items()})
    if details.get("why") in WHYS:
        details["why"] = str(WHYS[details["why"]]).format_map(details)
    return template.format_map(details)


def _shown(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple | set | frozenset) else str(value)
    return text[:MAX_DETAIL]


class _Blanks(dict[str, str]):
    """A detail that a caller forgot leaves a dash, not a fault."""

    def __missing__(self, key: str) -> str:
        return "—"

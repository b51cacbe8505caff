"""Every refusal of the product has a sentence, in both languages."""

import importlib
import pkgutil
import re

import pytest
from django.utils import translation

import proue
from proue.kernel.refusal import NotFound, Refusal
from proue.portal.messages import SENTENCES, say


def every_refusal() -> list[type[Refusal]]:
    """All subclasses, once every room's rules are loaded."""
    for module in pkgutil.walk_packages(proue.__path__, "proue."):
        if re.fullmatch(r"proue\.\w+\.(rules|refusal|refusals)", module.name):
            importlib.import_module(module.name)
    found: list[type[Refusal]] = [Refusal]
    for kind in found:
        found += [one for one in kind.__subclasses__() if one.__module__.startswith("proue.")]
    return found


def test_codes_are_unique():
    codes = [kind.code for kind in every_refusal()]
    assert sorted(codes) == sorted(set(codes))
    assert len(codes) > 30


def test_every_refusal_has_a_sentence_and_every_sentence_a_refusal():
    assert sorted(kind.code for kind in every_refusal()) == sorted(SENTENCES)


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("kind", every_refusal(), ids=lambda kind: kind.code)
def test_it_is_said(kind, language):
    refusal = kind("thing") if issubclass(kind, NotFound) else kind()
    with translation.override(language):
        bare, told = say(refusal), say(_with_details(refusal))
    assert bare.endswith(".")
    assert "{" not in bare
    assert "secret-detail" not in say(_with_details(refusal, secret="secret-detail"))
    assert len(told) < 400
    if language == "fr":
        assert not re.search(r"« | »| [;:?!]( |$)", bare)
        assert "succès" not in bare


def _with_details(refusal: Refusal, **more: object) -> Refusal:
    refusal.details = dict.fromkeys(("value", "word", "uai", "key", "unit"), "x" * 1000) | more
    return refusal


def test_lists_are_words():
    from proue.datasets.rules import LegalFileIncomplete

    with translation.override("fr"):
        assert say(LegalFileIncomplete(missing=["licence", "source"])).endswith("Il manque\u00a0: licence, source.")


def test_a_refusal_without_a_sentence_would_be_caught():
    class Unsaid(Refusal):
        code = "thing.unsaid"

    Unsaid.__module__ = "proue.nowhere"
    try:
        assert Unsaid in every_refusal()
        assert Unsaid.code not in SENTENCES
    finally:
        Unsaid.__module__ = __name__

"""« Registre des traitements »: for who looks after data or uses of an institution, of that one only."""

from django.urls import reverse


def test_the_page_says_recipients_and_what_is_missing(site):
    page = site.client("dpo").get(reverse("processing_register")).content.decode()
    assert "Université des Deux-Rives" in page
    assert "Répondre aux questions de scolarité" in page
    assert "à compléter" in page
    assert "Base légale de chaque traitement" in page
    assert "Haute-Brume" not in page.replace("brume-moteur", "")
    assert reverse("processing_register") in site.client("dpo").get(reverse("institution")).content.decode()
    assert reverse("processing_register") not in site.client("teacher").get(reverse("institution")).content.decode()


def test_documents_are_of_one_s_own_institution(site):
    for suffix, start in (("odt", b"PK"), ("pdf", b"%PDF-")):
        path = reverse("processing_register_file", kwargs={"uai": "0999901A", "suffix": suffix})
        answer = site.client("dpo").get(path)
        assert answer.content.startswith(start)
        assert answer.headers["Content-Disposition"] == f'attachment; filename="registre-0999901A.{suffix}"'
        assert site.client("stranger").get(path).status_code == 404
    wrong = reverse("processing_register_file", kwargs={"uai": "0999901A", "suffix": "exe"})
    assert site.client("dpo").get(wrong).status_code == 404


def test_the_export_has_a_line_per_recipient(site):
    lines = site.client("dpo").get(reverse("processing_register"), {"format": "csv"}).content.decode().splitlines()
    assert lines[0].lstrip("\ufeff").startswith("uai;use;finalite;base_legale")
    assert all(line.startswith("0999901A;") for line in lines[1:])
    assert sum(";assistance-scolarite;" in line for line in lines) > 1

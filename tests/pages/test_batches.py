"""« Lots »: who sees which, how far one is, why a file was refused, and the end of one."""

import re

import pytest
from django.urls import reverse

from proue.batches import actions
from proue.batches.models import Batch
from proue.kernel.clock import utc_now
from proue.store.access import scopes, system


def page(site, role, name="batches", id=None, query=""):
    address = reverse(name, kwargs={"id": id}) if id else reverse(name)
    return site.client(role).get(address + query)


def test_the_demonstration_s_batch_and_one_s_own_are_listed(site):
    listed = page(site, "dpo").content.decode()
    assert "2 lots" in listed
    assert "corpus de recherche" in listed
    assert "clé de l’enseignant" in listed
    own = page(site, "teacher").content.decode()
    assert "1 lot" in own
    assert "corpus de recherche" not in own, "a teacher sees the batches of their own keys"
    assert "Annuler" in own
    assert "Annuler" not in listed, "a data-protection officer reads"
    assert "Aucun lot encore" in page(site, "stranger").content.decode()


def test_the_list_is_filtered_and_exported(site):
    assert "Aucun lot ne répond" in page(site, "dpo", query="?state=over").content.decode()
    assert "1 lot" in page(site, "dpo", query="?q=enseignant").content.decode()
    assert page(site, "dpo", query="?state=x'&q=%00&page=99").status_code == 200
    rows = page(site, "dpo", query="?format=csv").content.decode().splitlines()
    assert len(rows) == 3
    assert f"batch_{site.batch.pk.hex}" in "".join(rows)


def test_what_is_another_s_is_not_there(site):
    for name in ("batch", "cancel_batch"):
        assert page(site, "stranger", name, site.batch.pk).status_code == 404
        assert page(site, "dpo", name, "01900000-0000-7000-8000-000000000000").status_code == 404


@pytest.fixture
def refused(site):
    """The teacher's, read by a worker."""
    with system("demo"):
        row = actions.batch_by_id(site.batch.pk)
    with scopes([row.scope_id]):
        actions.read_input(batch=row, at=utc_now())
    yield row
    with system("demo"):
        Batch.objects.filter(pk=row.pk).update(state="validating", ended_at=None, errors=[])


def test_a_refused_file_says_why_line_by_line(site, refused):
    html = page(site, "teacher", "batch", refused.pk).content.decode()
    assert "Pourquoi ce fichier a été refusé" in html
    assert re.search(r"<th scope=\"row\">1</th><td>Cette ligne n’est pas un objet JSON", html)
    assert "pas du json" not in html, "what people wrote is not shown"
    assert "Annuler" not in html


def test_progress_is_a_figure_and_a_bar(site):
    with system("demo"):
        Batch.objects.filter(pk=site.batch.pk).update(state="in_progress", total=1200, completed=300, failed=2)
    try:
        html = page(site, "teacher").content.decode()
        assert '<progress max="1200" value="302"' in html
        assert re.search(r"302 / 1.200", html)
        assert "en cours" in html
    finally:
        with system("demo"):
            Batch.objects.filter(pk=site.batch.pk).update(state="validating", total=0, completed=0, failed=0)


def test_a_batch_is_cancelled_once_after_a_question(site):
    client, address = site.client("teacher"), reverse("cancel_batch", kwargs={"id": site.batch.pk})
    asked = client.get(address).content.decode()
    assert "On ne peut pas revenir en arrière" in asked
    with system("demo"):
        assert Batch.objects.get(pk=site.batch.pk).state == "validating", "reading the page cancels nothing"
    done = client.post(address, follow=True).content.decode()
    assert "Le lot s’arrête" in done
    again = client.post(address)
    assert again.status_code == 400
    assert "il n’y a plus rien à annuler" in again.content.decode()
    late = client.get(address).content.decode()
    assert "il n’y a plus rien à annuler" in late, "an old page led here"
    assert '<form method="post">' not in late
    with system("demo"):
        Batch.objects.filter(pk=site.batch.pk).update(state="validating", cancelling_at=None)

from django.db import migrations

from proue.store import rls


class Migration(migrations.Migration):
    dependencies = [("assurance", "0001_initial")]
    operations = [
        rls.secure("assurance_check", write=rls.SHARED),
        rls.secure("assurance_derogation", write=rls.SHARED),
        rls.secure("assurance_indicator", write=rls.SHARED),
        rls.secure("assurance_statement", write=rls.SHARED),
        rls.secure("assurance_finding", write=rls.SHARED),
        rls.secure("assurance_dispute", write=rls.SHARED),
    ]

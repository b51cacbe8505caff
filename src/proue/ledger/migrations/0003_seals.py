"""The chain and its seals. A fact is given sequence and hash once, by proue_system; nothing else here ever changes."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F, Q

import proue.kernel.ids
from proue.store import rls

ONCE = """
-- Whoever may insert a fact may not number it.
ALTER POLICY ledger_fact_insert ON ledger_fact WITH CHECK (sequence IS NULL AND hash IS NULL);

CREATE FUNCTION ledger_sealed_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'fact % is sealed: it does not change', OLD.id USING ERRCODE = 'PR002';
END $$;
CREATE TRIGGER ledger_fact_sealed_once BEFORE UPDATE ON ledger_fact
  FOR EACH ROW WHEN (OLD.sequence IS NOT NULL) EXECUTE FUNCTION ledger_sealed_once();

-- How many facts wait, in all scopes, and since when: two figures that tell nobody anything else.
CREATE FUNCTION ledger_waiting(OUT facts bigint, OUT since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT count(*), min(recorded_at) FROM ledger_fact WHERE sequence IS NULL
$$;
"""
ONCE_BACK = """
DROP FUNCTION ledger_waiting();
DROP TRIGGER ledger_fact_sealed_once ON ledger_fact;
DROP FUNCTION ledger_sealed_once();
ALTER POLICY ledger_fact_insert ON ledger_fact WITH CHECK (true);
"""
ID = ("id", models.UUIDField(default=proue.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False))


class Migration(migrations.Migration):
    dependencies = [("ledger", "0002_security"), ("store", "0002_entities_and_links")]
    operations = [
        migrations.AddField("fact", "sequence", models.BigIntegerField(null=True, unique=True)),
        migrations.AddField("fact", "hash", models.BinaryField(null=True)),
        migrations.AddIndex(
            "fact",
            models.Index(fields=["id"], condition=Q(sequence__isnull=True), name="fact_waits_for_its_seal"),
        ),
        migrations.AddConstraint(
            "fact",
            models.CheckConstraint(
                condition=Q(sequence__isnull=True, hash__isnull=True)
                | Q(sequence__isnull=False, hash__isnull=False),
                name="sealed_fact_has_sequence_and_hash",
            ),
        ),
        migrations.CreateModel(
            name="SigningKey",
            fields=[
                ID,
                ("number", models.PositiveIntegerField(unique=True)),
                ("key_id", models.CharField(max_length=32, unique=True)),
                ("public", models.BinaryField()),
                ("opened_at", models.DateTimeField()),
                ("previous", models.CharField(blank=True, max_length=32)),
                ("signature", models.BinaryField()),
            ],
        ),
        migrations.CreateModel(
            name="SigningSecret",
            fields=[
                ID,
                (
                    "key",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="ledger.signingkey"
                    ),
                ),
                ("box", models.BinaryField()),
            ],
        ),
        migrations.CreateModel(
            name="Seal",
            fields=[
                ID,
                ("number", models.BigIntegerField(unique=True)),
                ("first", models.BigIntegerField()),
                ("last", models.BigIntegerField(unique=True)),
                ("head", models.BinaryField()),
                ("previous", models.BinaryField()),
                ("at", models.DateTimeField()),
                ("key", models.CharField(max_length=32)),
                ("signature", models.BinaryField()),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=Q(first__lte=F("last")), name="seal_covers_facts")]
            },
        ),
        migrations.CreateModel(
            name="Verification",
            fields=[
                ID,
                ("at", models.DateTimeField()),
                ("facts", models.BigIntegerField()),
                ("seals", models.BigIntegerField()),
                ("last", models.BigIntegerField()),
                ("findings", models.JSONField()),
                ("more", models.PositiveIntegerField(default=0)),
            ],
            options={"indexes": [models.Index(fields=["-at"], name="verification_at")]},
        ),
        rls.secure("ledger_signingkey", read="true", write="false"),
        rls.secure("ledger_signingsecret", read="false", write="false"),
        rls.secure("ledger_seal", read="true", write="false"),
        rls.secure("ledger_verification", read="true", write="false"),
        migrations.RunSQL(ONCE, ONCE_BACK),
    ]

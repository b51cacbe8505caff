"""What the shield masked, by kind; and an absorption that takes whatever columns both tables have.

It was written with its list of columns, so that each new one meant the function anew: now a migration adds the column
to both tables, and no more.
"""

from django.db import migrations, models

from proue.store.rules import ALLIANCE

COLUMN = """
ALTER TABLE metering_usage_staging ADD COLUMN shielded jsonb;
ALTER TABLE metering_usage ADD COLUMN shielded jsonb;
"""
COLUMN_BACK = """
ALTER TABLE metering_usage DROP COLUMN shielded;
ALTER TABLE metering_usage_staging DROP COLUMN shielded;
"""

ABSORB = f"""
CREATE OR REPLACE FUNCTION metering_absorb_usage(this uuid) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $absorb$
DECLARE
  inserted integer;
  names text;
BEGIN
  SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO names FROM pg_attribute
   WHERE attrelid = 'metering_usage_staging'::regclass AND attnum > 0 AND NOT attisdropped
     AND attname NOT IN ('batch', 'id');
  EXECUTE format($sql$
    WITH taken AS (
      DELETE FROM metering_usage_staging WHERE batch = $1 RETURNING *
    ), added AS (
      INSERT INTO metering_usage (id, scope_id, %1$s)
      SELECT taken.id, coalesce(i.scope_id, '{ALLIANCE}'::uuid), %2$s
        FROM taken LEFT JOIN institutions_institution i ON i.uai = taken.institution
      ON CONFLICT (id, opened_at) DO NOTHING
      RETURNING (opened_at AT TIME ZONE 'Europe/Paris')::date AS day
    ), touched AS (
      INSERT INTO metering_touched (batch, day) SELECT DISTINCT $1, day FROM added ON CONFLICT DO NOTHING
    )
    SELECT count(*)::integer FROM added
  $sql$, names, 'taken.' || replace(names, ', ', ', taken.')) INTO inserted USING this;
  RETURN inserted;
END $absorb$;
"""


class Migration(migrations.Migration):
    dependencies = [("metering", "0004_month_end")]
    operations = [
        migrations.RunSQL(
            COLUMN,
            COLUMN_BACK,
            state_operations=[migrations.AddField("usage", "shielded", models.JSONField(null=True))],
        ),
        # Going back, the newer function still fits the older tables.
        migrations.RunSQL(ABSORB, migrations.RunSQL.noop),
    ]

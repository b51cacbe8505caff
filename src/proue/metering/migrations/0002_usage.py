"""The journal's end: usage by month, the table that gateways copy into, and the one function that moves it over."""

from django.db import migrations

from proue.store import rls
from proue.store.rules import ALLIANCE

FIGURES = """
  energy_uwh int8, energy_low_uwh int8, energy_high_uwh int8,
  ghg_marginal_ug int8, ghg_marginal_low_ug int8, ghg_marginal_high_ug int8,
  ghg_full_ug int8, ghg_full_low_ug int8, ghg_full_high_ug int8,
  water_ul int8, water_low_ul int8, water_high_ul int8
"""
COLUMNS = """
  request_id text NOT NULL, opened_at timestamptz NOT NULL, closed_at timestamptz NOT NULL, institution text NOT NULL,
  use_id uuid NOT NULL, key_id uuid, person text, parent uuid, model text NOT NULL, served_as text NOT NULL,
  endpoint text NOT NULL, operation text NOT NULL, data_class int2 NOT NULL, outcome text NOT NULL,
  stream bool NOT NULL, status int2 NOT NULL, tokens_in int4 NOT NULL, tokens_in_cached int4 NOT NULL,
  tokens_out int4 NOT NULL, tokens_reasoning int4 NOT NULL, estimated bool NOT NULL, first_byte_us int8,
"""
NAMES = ", ".join(
    line.strip().split()[0] for line in f"{COLUMNS}{FIGURES}, tier text, method text".split(",") if line.strip()
)

TABLES = f"""
-- Emptied by the transaction that fills it, so it needs neither a write-ahead log nor a policy.
CREATE UNLOGGED TABLE metering_usage_staging (
  batch uuid NOT NULL, id uuid NOT NULL, {COLUMNS} {FIGURES}, tier text, method text
);
CREATE INDEX metering_usage_staging_batch ON metering_usage_staging (batch);

CREATE TABLE metering_usage (
  id uuid NOT NULL, {COLUMNS} {FIGURES}, tier text, method text,
  scope_id uuid NOT NULL REFERENCES store_scope (id),
  absorbed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (id, opened_at)
) PARTITION BY RANGE (opened_at);
CREATE INDEX metering_usage_opened ON metering_usage (opened_at);
CREATE TABLE metering_usage_default PARTITION OF metering_usage DEFAULT;

-- Days whose sums are out of date. One row a batch: a row shared by all would make the gateways wait for one another,
-- and a roll-up that removed it would lose whoever came in between.
CREATE TABLE metering_touched (batch uuid NOT NULL, day date NOT NULL, PRIMARY KEY (batch, day));
"""
TABLES_BACK = "DROP TABLE metering_touched; DROP TABLE metering_usage; DROP TABLE metering_usage_staging;"

# A partition can be read directly, past the policies of its parent: it gets its own.
SECURE_PARTITION = """
CREATE FUNCTION metering_secure_partition(part text) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
  EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', part);
  EXECUTE format('CREATE POLICY %I ON %I TO proue_owner, proue_system USING (true) WITH CHECK (true)',
                 part || '_trusted', part);
END $$;
SELECT metering_secure_partition('metering_usage_default');
"""
SECURE_PARTITION_BACK = "DROP FUNCTION metering_secure_partition(text)"

# Months of Paris. Rows that the default partition took for a month move into it when it is made.
PARTITIONS = """
CREATE FUNCTION metering_ensure_partitions(first date, months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  step date := date_trunc('month', first)::date;
  made integer := 0;
  part text; low timestamptz; high timestamptz;
BEGIN
  IF months NOT BETWEEN 1 AND 24 THEN
    RAISE EXCEPTION 'metering_ensure_partitions: between 1 and 24 months at once';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('metering_ensure_partitions'));
  FOR i IN 1..months LOOP
    part := 'metering_usage_' || to_char(step, 'YYYY_MM');
    IF to_regclass(part) IS NULL THEN
      low := step::timestamp AT TIME ZONE 'Europe/Paris';
      high := (step + interval '1 month')::timestamp AT TIME ZONE 'Europe/Paris';
      LOCK TABLE metering_usage_default IN ACCESS EXCLUSIVE MODE;
      EXECUTE format('CREATE TABLE %I (LIKE metering_usage INCLUDING DEFAULTS)', part);
      EXECUTE format('WITH moved AS (DELETE FROM metering_usage_default WHERE opened_at >= %L AND opened_at < %L '
                     'RETURNING *) INSERT INTO %I SELECT * FROM moved', low, high, part);
      EXECUTE format('ALTER TABLE metering_usage ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, low, high);
      PERFORM metering_secure_partition(part);
      made := made + 1;
    END IF;
    step := (step + interval '1 month')::date;
  END LOOP;
  RETURN made;
END $$;
SELECT metering_ensure_partitions((now() AT TIME ZONE 'Europe/Paris')::date, 4);
"""
PARTITIONS_BACK = "DROP FUNCTION metering_ensure_partitions(date, integer)"

# Idempotent by id. A usage of an institution that we do not know is kept for the alliance, never lost.
ABSORB = f"""
CREATE FUNCTION metering_absorb_usage(this uuid) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE inserted integer;
BEGIN
  WITH taken AS (
    DELETE FROM metering_usage_staging WHERE batch = this RETURNING *
  ), added AS (
    INSERT INTO metering_usage (id, scope_id, {NAMES})
    SELECT taken.id, coalesce(i.scope_id, '{ALLIANCE}'::uuid), {", ".join("taken." + name.strip() for name in NAMES.split(","))}
      FROM taken LEFT JOIN institutions_institution i ON i.uai = taken.institution
    ON CONFLICT (id, opened_at) DO NOTHING
    RETURNING (opened_at AT TIME ZONE 'Europe/Paris')::date AS day
  ), touched AS (
    INSERT INTO metering_touched (batch, day) SELECT DISTINCT this, day FROM added ON CONFLICT DO NOTHING
  )
  SELECT count(*) INTO inserted FROM added;
  RETURN inserted;
END $$;
"""
ABSORB_BACK = "DROP FUNCTION metering_absorb_usage(uuid)"

# Sums over everybody, readable by everybody: nothing in it tells one institution from another.
PUBLIC_MONTH = """
CREATE FUNCTION metering_public_month(first date) RETURNS TABLE (
  requests int8, estimated int8, unmetered int8, tokens_in int8, tokens_in_cached int8, tokens_out int8,
  tokens_reasoning int8, energy_uwh int8, energy_low_uwh int8, energy_high_uwh int8, ghg_marginal_ug int8,
  ghg_marginal_low_ug int8, ghg_marginal_high_ug int8, ghg_full_ug int8, ghg_full_low_ug int8, ghg_full_high_ug int8,
  water_ul int8, water_low_ul int8, water_high_ul int8, tiers text[]
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT coalesce(sum(requests), 0)::int8, coalesce(sum(estimated), 0)::int8,
         coalesce(sum(requests) FILTER (WHERE tier = ''), 0)::int8, coalesce(sum(tokens_in), 0)::int8,
         coalesce(sum(tokens_in_cached), 0)::int8, coalesce(sum(tokens_out), 0)::int8,
         coalesce(sum(tokens_reasoning), 0)::int8, coalesce(sum(energy_uwh), 0)::int8,
         coalesce(sum(energy_low_uwh), 0)::int8, coalesce(sum(energy_high_uwh), 0)::int8,
         coalesce(sum(ghg_marginal_ug), 0)::int8, coalesce(sum(ghg_marginal_low_ug), 0)::int8,
         coalesce(sum(ghg_marginal_high_ug), 0)::int8, coalesce(sum(ghg_full_ug), 0)::int8,
         coalesce(sum(ghg_full_low_ug), 0)::int8, coalesce(sum(ghg_full_high_ug), 0)::int8,
         coalesce(sum(water_ul), 0)::int8, coalesce(sum(water_low_ul), 0)::int8, coalesce(sum(water_high_ul), 0)::int8,
         coalesce(array_agg(DISTINCT tier::text) FILTER (WHERE tier <> ''), '{}')
    FROM metering_day
   WHERE day >= date_trunc('month', first)::date AND day < (date_trunc('month', first) + interval '1 month')::date
$$;
"""
PUBLIC_MONTH_BACK = "DROP FUNCTION metering_public_month(date)"


class Migration(migrations.Migration):
    dependencies = [("metering", "0001_initial"), ("institutions", "0002_security")]
    operations = [
        migrations.RunSQL(TABLES, TABLES_BACK),
        rls.secure("metering_usage", write="false"),
        rls.secure("metering_touched", read="false", write="false"),
        migrations.RunSQL(SECURE_PARTITION, SECURE_PARTITION_BACK),
        migrations.RunSQL(PARTITIONS, PARTITIONS_BACK),
        migrations.RunSQL(ABSORB, ABSORB_BACK),
        migrations.RunSQL(PUBLIC_MONTH, PUBLIC_MONTH_BACK),
    ]

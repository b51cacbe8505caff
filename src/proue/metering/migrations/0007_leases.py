"""Budgets enforced: what a window used, and what each gateway holds of it (README.md says the invariant)."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import migrations, models
from django.db.models import Q

from proue.store import rls
from proue.store.rules import ALLIANCE

# A window is one period of one budget, in one unit. `used` is the sum of the absorbed Usages that draw on it.
# A lease is a gateway's share of a window, in sums since the window began: it may draw up to `granted`, has drawn or
# reserved `committed` as it last said, and `absorbed` of it is already in the window's `used`.
TABLES = """
CREATE TABLE metering_window (
  budget_id uuid NOT NULL REFERENCES metering_budget (id) ON DELETE CASCADE,
  starts_at timestamptz NOT NULL, unit text NOT NULL, scope_id uuid NOT NULL, used int8 NOT NULL DEFAULT 0,
  PRIMARY KEY (budget_id, starts_at, unit)
);
CREATE TABLE metering_holder (
  id uuid PRIMARY KEY, call int8 NOT NULL, seen_at timestamptz NOT NULL, steady_since timestamptz NOT NULL
);
CREATE TABLE metering_lease (
  budget_id uuid NOT NULL, starts_at timestamptz NOT NULL, unit text NOT NULL, holder uuid NOT NULL,
  granted int8 NOT NULL, committed int8 NOT NULL, absorbed int8 NOT NULL DEFAULT 0,
  PRIMARY KEY (budget_id, starts_at, unit, holder),
  FOREIGN KEY (budget_id, starts_at, unit) REFERENCES metering_window ON DELETE CASCADE
);
CREATE INDEX metering_lease_holder ON metering_lease (holder);
"""
TABLES_BACK = "DROP TABLE metering_lease; DROP TABLE metering_holder; DROP TABLE metering_window;"

BOUND = """
CREATE FUNCTION metering_bound(b metering_budget, unit text) RETURNS int8 LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE unit WHEN 'requests' THEN b.requests WHEN 'tokens' THEN b.tokens WHEN 'eur' THEN b.eur_micro
                   WHEN 'energy_wh' THEN b.energy_uwh WHEN 'ghg_g' THEN b.ghg_ug END
$$;
"""
BOUND_BACK = "DROP FUNCTION metering_bound(metering_budget, text)"

# One call of a gateway: each ask says of a window (b: budget, s: its start, u: unit) what it has committed (c), what
# the requests that wait need (n) and what it would like to have in hand (x). Of the answer, `granted` is what it may
# draw up to, `others` what is used or committed elsewhere. The window's row is locked for each of its leases' moves,
# always in the order (budget, start, unit). While its call is under way a gateway goes on with what it holds, up to
# c + n + x: that is never taken from it. Calls are numbered, so that one that was given up and comes late does nothing.
# A gateway unheard of for 20 s gives back what it had not committed when it
# was last heard; only one that has itself been heard without a gap for so long may say so, because after an outage of
# PostgreSQL everybody is late.
LEASE = """
CREATE FUNCTION metering_lease(this uuid, this_call int8, asks jsonb)
RETURNS TABLE (budget uuid, start_s int8, unit text, granted int8, others int8, bound int8)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
  ask record;
  steady bool;
  at timestamptz;
  used_ int8; leased int8; taken int8; number int8; mine int8; held int8; room int8; base int8; got int8;
BEGIN
  INSERT INTO metering_holder AS h (id, call, seen_at, steady_since) VALUES (this, this_call, now(), now())
  ON CONFLICT (id) DO UPDATE SET call = this_call, seen_at = now(),
    steady_since = CASE WHEN h.seen_at < now() - interval '10 s' THEN now() ELSE h.steady_since END
    WHERE h.call < this_call
  RETURNING now() - h.steady_since > interval '20 s' INTO steady;
  IF steady IS NULL THEN
    RETURN;
  END IF;
  FOR ask IN
    SELECT a.*, g.scope_id, metering_bound(g, a.u) AS bound
      FROM jsonb_to_recordset(asks) AS a (b uuid, s int8, u text, c int8, n int8, x int8)
      JOIN metering_budget g ON g.id = a.b
     WHERE metering_bound(g, a.u) IS NOT NULL ORDER BY a.b, a.s, a.u
  LOOP
    at := to_timestamp(ask.s);
    INSERT INTO metering_window (budget_id, starts_at, unit, scope_id) VALUES (ask.b, at, ask.u, ask.scope_id)
    ON CONFLICT DO NOTHING;
    SELECT w.used INTO used_ FROM metering_window w
     WHERE w.budget_id = ask.b AND w.starts_at = at AND w.unit = ask.u FOR UPDATE;
    IF steady THEN
      UPDATE metering_lease l SET granted = greatest(l.committed, l.absorbed) FROM metering_holder h
       WHERE l.budget_id = ask.b AND l.starts_at = at AND l.unit = ask.u AND h.id = l.holder
         AND h.seen_at < now() - interval '20 s' AND l.granted > greatest(l.committed, l.absorbed);
    END IF;
    SELECT coalesce(sum(greatest(l.granted - l.absorbed, 0)) FILTER (WHERE l.holder <> this), 0),
           coalesce(sum(greatest(l.committed - l.absorbed, 0)) FILTER (WHERE l.holder <> this), 0),
           count(*) FILTER (WHERE l.holder <> this), coalesce(sum(l.absorbed) FILTER (WHERE l.holder = this), 0),
           coalesce(sum(l.granted) FILTER (WHERE l.holder = this), 0)
      INTO leased, taken, number, mine, held
      FROM metering_lease l WHERE l.budget_id = ask.b AND l.starts_at = at AND l.unit = ask.u;
    room := ask.bound - used_ - leased + mine;
    base := ask.c + ask.n;
    IF base <= room THEN
      got := base + least(ask.x, (room - base) / (number + 1));
    ELSE
      got := greatest(ask.c, least(base, room));
      IF leased > taken THEN
        PERFORM pg_notify('proue_budget', ask.b::text);
      END IF;
    END IF;
    got := greatest(got, least(held, base + ask.x));
    INSERT INTO metering_lease AS l (budget_id, starts_at, unit, holder, granted, committed)
    VALUES (ask.b, at, ask.u, this, got, ask.c)
    ON CONFLICT (budget_id, starts_at, unit, holder) DO UPDATE SET granted = got, committed = ask.c;
    budget := ask.b; start_s := ask.s; unit := ask.u; granted := got; bound := ask.bound;
    others := used_ - mine + taken;
    RETURN NEXT;
  END LOOP;
END $$;
"""
LEASE_BACK = "DROP FUNCTION metering_lease(uuid, int8, jsonb)"

# A gateway that ended, whose Usages are all absorbed: what is left of its leases goes back.
RELEASE = """
CREATE FUNCTION metering_release(that uuid) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE number integer;
BEGIN
  PERFORM 1 FROM metering_lease WHERE holder = that ORDER BY budget_id, starts_at, unit FOR UPDATE;
  DELETE FROM metering_lease WHERE holder = that;
  GET DIAGNOSTICS number = ROW_COUNT;
  DELETE FROM metering_holder WHERE id = that;
  RETURN number;
END $$;
"""
RELEASE_BACK = "DROP FUNCTION metering_release(uuid)"

# Absorbed Usages draw on their windows: `draws` has budget, instant, holder and five sums in the order of the units.
DRAW = """
CREATE FUNCTION metering_draw(draws jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE one record;
BEGIN
  FOR one IN
    SELECT g.id AS budget, g.scope_id, date_trunc(g.per, d.at, 'Europe/Paris') AS start, u.unit, d.holder,
           sum(d.drawn[u.place])::int8 AS amount
      FROM jsonb_to_recordset(draws) AS d (budget uuid, at timestamptz, holder uuid, drawn int8[])
      JOIN metering_budget g ON g.id = d.budget
     CROSS JOIN unnest(ARRAY['requests', 'tokens', 'eur', 'energy_wh', 'ghg_g']) WITH ORDINALITY AS u (unit, place)
     WHERE metering_bound(g, u.unit) IS NOT NULL
     GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 3, 4, 5
  LOOP
    INSERT INTO metering_window AS w (budget_id, starts_at, unit, scope_id, used)
    VALUES (one.budget, one.start, one.unit, one.scope_id, one.amount)
    ON CONFLICT (budget_id, starts_at, unit) DO UPDATE SET used = w.used + one.amount;
    UPDATE metering_lease SET absorbed = absorbed + one.amount
     WHERE budget_id = one.budget AND starts_at = one.start AND unit = one.unit AND holder = one.holder;
  END LOOP;
END $$;
"""
DRAW_BACK = "DROP FUNCTION metering_draw(jsonb)"

COLUMNS = "\n".join(
    f"ALTER TABLE {table} ADD COLUMN holder uuid, ADD COLUMN budgets uuid[], ADD COLUMN drawn int8[];"
    for table in ("metering_usage_staging", "metering_usage")
)
COLUMNS_BACK = "\n".join(
    f"ALTER TABLE {table} DROP COLUMN holder, DROP COLUMN budgets, DROP COLUMN drawn;"
    for table in ("metering_usage", "metering_usage_staging")
)

# As 0005, and in the same statement what was really added (no id twice) is summed; windows are locked last.
ABSORB = f"""
CREATE OR REPLACE FUNCTION metering_absorb_usage(this uuid) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $absorb$
DECLARE
  inserted integer;
  draws jsonb;
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
      RETURNING (opened_at AT TIME ZONE 'Europe/Paris')::date AS day, opened_at, holder, budgets, drawn
    ), touched AS (
      INSERT INTO metering_touched (batch, day) SELECT DISTINCT $1, day FROM added ON CONFLICT DO NOTHING
    ), draws AS (
      SELECT budget, date_trunc('minute', opened_at) AS at, holder,
             ARRAY[sum(drawn[1]), sum(drawn[2]), sum(drawn[3]), sum(drawn[4]), sum(drawn[5])] AS drawn
        FROM added, unnest(budgets) AS budget GROUP BY 1, 2, 3
    )
    SELECT (SELECT count(*)::integer FROM added), (SELECT jsonb_agg(draws) FROM draws)
  $sql$, names, 'taken.' || replace(names, ', ', ', taken.')) INTO inserted, draws USING this;
  IF draws IS NOT NULL THEN
    PERFORM metering_draw(draws);
  END IF;
  RETURN inserted;
END $absorb$;
"""

# What has been over for long: nobody is refused by it, and what a month used is kept for two years.
FORGET = """
CREATE FUNCTION metering_forget_windows(at timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE number integer;
BEGIN
  DELETE FROM metering_window w USING metering_budget b
   WHERE b.id = w.budget_id AND w.starts_at < at - CASE b.per WHEN 'minute' THEN interval '2 days'
         WHEN 'day' THEN interval '100 days' ELSE interval '2 years' END;
  GET DIAGNOSTICS number = ROW_COUNT;
  DELETE FROM metering_holder h
   WHERE h.seen_at < at - interval '2 days' AND NOT EXISTS (SELECT FROM metering_lease l WHERE l.holder = h.id);
  RETURN number;
END $$;
"""
FORGET_BACK = "DROP FUNCTION metering_forget_windows(timestamptz)"


class Migration(migrations.Migration):
    dependencies = [("metering", "0006_laboratory")]
    operations = [
        migrations.AddField(
            "budget",
            "warn_at",
            models.SmallIntegerField(default=80, validators=[MinValueValidator(1), MaxValueValidator(100)]),
        ),
        migrations.AddConstraint(
            "budget",
            models.CheckConstraint(condition=Q(warn_at__gte=1, warn_at__lte=100), name="budget_warns_at_a_percentage"),
        ),
        migrations.RunSQL(TABLES, TABLES_BACK),
        rls.secure("metering_window", write="false"),
        rls.secure("metering_holder", read="false", write="false"),
        rls.secure("metering_lease", read="false", write="false"),
        migrations.RunSQL(BOUND, BOUND_BACK),
        migrations.RunSQL(LEASE, LEASE_BACK),
        migrations.RunSQL(RELEASE, RELEASE_BACK),
        migrations.RunSQL(DRAW, DRAW_BACK),
        migrations.RunSQL(
            COLUMNS,
            COLUMNS_BACK,
            state_operations=[
                migrations.AddField("usage", "holder", models.UUIDField(null=True)),
                migrations.AddField("usage", "budgets", ArrayField(models.UUIDField(), null=True)),
                migrations.AddField("usage", "drawn", ArrayField(models.BigIntegerField(), null=True)),
            ],
        ),
        migrations.RunSQL(ABSORB, migrations.RunSQL.noop),
        migrations.RunSQL(FORGET, FORGET_BACK),
    ]

from django.db import migrations

from proue.store import rls

NO_OVERLAP = """
ALTER TABLE institutions_rolegrant ADD CONSTRAINT one_grant_of_a_role_at_a_time EXCLUDE USING gist (
  proue_uuidrange(person_id, person_id, '[]') WITH &&,
  proue_uuidrange(scope_id, scope_id, '[]') WITH &&,
  proue_textrange(role, role, '[]') WITH &&,
  tstzrange(valid_from, valid_to) WITH &&
);
ALTER TABLE institutions_membership ADD CONSTRAINT one_membership_of_a_status_at_a_time EXCLUDE USING gist (
  proue_uuidrange(person_id, person_id, '[]') WITH &&,
  proue_uuidrange(institution_id, institution_id, '[]') WITH &&,
  proue_textrange(status, status, '[]') WITH &&,
  tstzrange(valid_from, valid_to) WITH &&
);
"""
NO_OVERLAP_BACK = """
ALTER TABLE institutions_rolegrant DROP CONSTRAINT one_grant_of_a_role_at_a_time;
ALTER TABLE institutions_membership DROP CONSTRAINT one_membership_of_a_status_at_a_time;
"""

# What binds a person to scopes must be readable before any scope can be entered: this function, and nothing else,
# reads memberships and roles for that, as the owner and with a fixed search path.
TIES = """
CREATE FUNCTION institutions_ties(who uuid, moment timestamptz)
RETURNS TABLE (scope_id uuid, institution_id uuid, uai text, status text, role text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT m.scope_id, m.institution_id, i.uai::text, m.status::text, NULL::text
    FROM institutions_membership m JOIN institutions_institution i ON i.id = m.institution_id
   WHERE m.person_id = who AND m.valid_from <= moment AND (m.valid_to IS NULL OR m.valid_to > moment)
  UNION ALL
  SELECT g.scope_id, g.institution_id, i.uai::text, NULL::text, g.role::text
    FROM institutions_rolegrant g LEFT JOIN institutions_institution i ON i.id = g.institution_id
   WHERE g.person_id = who AND g.valid_from <= moment AND (g.valid_to IS NULL OR g.valid_to > moment)
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("institutions", "0001_initial")]
    operations = [
        migrations.RunSQL(NO_OVERLAP, NO_OVERLAP_BACK),
        migrations.RunSQL(TIES, "DROP FUNCTION institutions_ties(uuid, timestamptz)"),
        rls.secure("institutions_membership"),
        rls.secure("institutions_rolegrant"),
    ]

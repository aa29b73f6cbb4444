"""What pgAdmin asks of the catalogues to draw its tree and its panels: its own SQL templates, each rendered and run."""
import os
import re
import sys
from pathlib import Path
import jinja2
import psycopg

folder = Path(os.environ["PGADMIN_TEMPLATES"])
reading = re.compile(r"(^|/)(nodes?|properties|acl|depend\w*|get_\w+|backend_support|coll_\w+|locks|activity|sessions|config|prepared)\.sql$")
momentary = re.compile(r"(activity|sessions|locks)\.sql$")
others = re.compile(r"ppas|pgd_|/pgagent/|dbms_job|/gpdb/|edb|packages/")
connection = psycopg.connect(os.environ["CLIENT_URL"], autocommit=True, client_encoding="utf8")
version = connection.info.server_version


def one(text):
    return connection.execute(text).fetchone()[0]


names = {
    "did": one("select oid from pg_database where datname = current_database()"), "datlastsysoid": 16383,
    "scid": one("select 'public'::regnamespace::oid"), "tid": one("select 'orders'::regclass::oid"),
    "vid": one("select 'order_overview'::regclass::oid"), "clid": 2, "db_name": "shop", "schema_name": "public", "schema": "public",
    "table": "orders", "name": "orders", "data": {"schema": "public", "name": "orders", "table": "orders", "relation": "public.orders"},
    "show_sysobj": False, "showsysobj": False, "show_system_objects": False, "is_catalog": False, "conn": None,
}
loaders = [jinja2.FileSystemLoader(str(path)) for path in sorted(folder.glob("**/templates"))]
environment = jinja2.Environment(loader=jinja2.ChoiceLoader(loaders), extensions=["jinja2.ext.do"])
environment.filters["qtIdent"] = lambda conn, *parts, **_: ".".join('"%s"' % part.replace('"', '""') for part in parts if isinstance(part, str))
environment.filters["qtTypeIdent"] = environment.filters["qtIdent"]
environment.filters["qtLiteral"] = lambda value, *_, **__: "'%s'" % str(value).replace("'", "''")
environment.filters["hasAny"] = lambda *_: False


def versions(files):
    """Of the same template for several servers, the one that pgAdmin takes for this one."""
    best = {}
    for file in files:
        found = re.search(r"/(default|(\d+)_plus)/", file)
        least = int(found[2] or 0) * 10000 if found else 0
        key = re.sub(r"/(default|\d+_plus)/", "/*/", file)
        if least <= version and least >= best.get(key, (-1,))[0]:
            best[key] = (least, file)
    return sorted(file for _, file in best.values())


asked = refused = 0
for file in versions(str(path) for path in folder.glob("**/templates/**/*.sql") if reading.search(str(path)) and not others.search(str(path))):
    label = file.split("/templates/", 1)[1]
    try:
        text = environment.get_template(label).render(**names)
    except Exception:
        continue  # it wants more than is known here
    if not text.strip():
        continue
    asked += 1
    try:
        with connection.cursor() as cursor:
            cursor.execute("begin read only")
            cursor.execute(text)
            columns = [column.name for column in cursor.description or []]
            # Few of them are ordered, and what the server learnt in between changes its plans.
            rows = sorted(cursor.fetchall(), key=repr) if cursor.description else []
            shown = "" if momentary.search(label) else rows if len(rows) < 20 else len(rows)
            print(f"{label}: {columns} {shown}")
    except psycopg.Error as error:
        refused += 1
        print(f"{label}: {error.diag.sqlstate} {error.diag.message_primary}")
    finally:
        connection.execute("rollback")
if asked < 80 or refused > asked / 2:
    sys.exit(f"{asked} asked, {refused} refused by the server: these are not the templates that were meant")
print("asked", asked)

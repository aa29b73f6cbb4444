"""What psycopg 3 gets for its work, as text: the same straight from the server and through a tunnel."""
import os
import threading
import psycopg
from psycopg.rows import dict_row

url = os.environ["CLIENT_URL"]


def show(label, value):
    print(f"{label}: {value!r}", flush=True)


def failing(label, work):
    try:
        work()
        show(label, "no error")
    except psycopg.Error as error:
        d = error.diag
        show(label, (type(error).__name__, d.sqlstate, d.severity, d.message_primary, d.message_detail, d.message_hint,
                     d.statement_position, d.table_name, d.constraint_name))


with psycopg.connect(url) as conn:
    for name in ("server_version", "server_encoding", "client_encoding", "DateStyle", "TimeZone", "integer_datetimes",
                 "standard_conforming_strings", "IntervalStyle", "is_superuser", "session_authorization"):
        show(name, conn.info.parameter_status(name))
    notices = []
    conn.add_notice_handler(lambda n: notices.append((n.severity, n.message_primary)))

    show("text", conn.execute("select * from customers order by id limit 5").fetchall())
    with conn.cursor(binary=True, row_factory=dict_row) as cur:
        show("binary", cur.execute("select o.*, c.tags from orders o join customers c on c.id = customer_id order by o.id limit 5").fetchall())
    show("types", conn.execute(
        "select 1::int2, 2::int8, 1.5::float8, 'NaN'::float8, 12.340::numeric, 'é'::text, null::int, true, '\\xdeadbeef'::bytea, "
        "date '2026-02-28', interval '1 day 02:03', '{1,2,null}'::int[], '{\"a\": [1, null]}'::jsonb, '10.0.0.0/8'::cidr, "
        "'[1,5)'::int4range, point(1,2), 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid").fetchone())
    show("description", [(c.name, c.type_code, c.internal_size, c.precision) for c in conn.execute("select * from payments limit 0").description])
    show("parameters", conn.execute("select %s::int + %b::int, %s::text", (1, 2, "it's; -- fine")).fetchone())
    for i in range(8):  # prepared from the sixth run on
        show(f"prepared {i}", conn.execute("select name from customers where id = %s", (i + 1,), prepare=i > 2).fetchone())

    failing("syntax", lambda: conn.execute("select * form customers"))
    conn.rollback()
    failing("division", lambda: conn.execute("select 1/0"))
    failing("aborted", lambda: conn.execute("select 1"))
    conn.rollback()
    failing("foreign key", lambda: conn.execute("insert into orders (customer_id, items, total, placed_at) values (0, '[]', 1, now())"))
    conn.rollback()

    with conn.transaction(force_rollback=True):
        conn.execute("insert into customers (id, name, email, city, created_at) values (9001, 'Ann', 'ann@example.com', 'Oslo', '2026-01-01')")
        with conn.transaction(force_rollback=True):
            show("updated", conn.execute("update customers set city = 'Bergen' where id = 9001").rowcount)
        show("savepoint", conn.execute("select city from customers where id = 9001").fetchone())
    show("rolled back", conn.execute("select count(*) from customers where id = 9001").fetchone())

    with conn.pipeline():
        cursors = [conn.execute("select %s::int * 2", (n,)) for n in range(20)]
    show("pipeline", [c.fetchone()[0] for c in cursors])

    with conn.cursor(name="big") as cur:
        cur.itersize = 7
        cur.execute("select id, total from orders order by id")
        show("server cursor", sum(1 for _ in cur))
    conn.rollback()

    conn.execute("create table copied (id int, body text)")
    with conn.cursor() as cur, cur.copy("copy copied from stdin") as copy:
        for n in range(1000):
            copy.write_row((n, None if n % 7 == 0 else f"row\t{n}\n\\."))
    show("copied in", conn.execute("select count(*), count(body), md5(string_agg(body, ',' order by id)) from copied").fetchone())
    with conn.cursor() as cur, cur.copy("copy (select * from copied order by id) to stdout (format binary)") as copy:
        copy.set_types(["int4", "text"])
        rows = list(copy.rows())
        show("copied out", (len(rows), rows[:8]))
    with conn.cursor() as cur, cur.copy("copy customers to stdout (format csv, header)") as copy:
        show("csv", len(b"".join(bytes(b) for b in copy)))

    def broken_copy():
        with conn.cursor() as cur, cur.copy("copy copied from stdin") as copy:
            copy.write("not a number\tx\n")
    conn.commit()
    failing("broken copy", broken_copy)
    conn.rollback()
    conn.execute("drop table copied")
    conn.execute("drop table if exists never_there")
    conn.execute("do $$ begin raise notice 'said by the server: %', 42; end $$")
    conn.commit()
    show("notices", notices)
    conn.execute("set datestyle = 'German'")
    show("changed", (conn.info.parameter_status("DateStyle"), conn.execute("select date '2026-02-28'::text").fetchone()))

with psycopg.connect(url, autocommit=True) as conn, psycopg.connect(url, autocommit=True) as other:
    conn.execute("listen news")
    other.execute("notify news, 'hello'")
    show("notification", [(n.channel, n.payload) for n in conn.notifies(timeout=10, stop_after=1)])
    done = threading.Event()

    def cancel():
        while not done.wait(0.3):
            conn.cancel_safe()
    thread = threading.Thread(target=cancel)
    thread.start()
    failing("cancelled", lambda: conn.execute("select pg_sleep(30)"))
    done.set()
    thread.join()
    show("alive", conn.execute("select 1").fetchone())
    several = conn.execute("select 1; select 2, 'x'; select 3")
    results = [several.fetchall()]
    while several.nextset():
        results.append(several.fetchall())
    show("several", results)
    show("empty", conn.execute("").statusmessage)
    show("tags", [conn.execute(s).statusmessage for s in ("create temp table t (a int)", "insert into t values (1), (2)", "update t set a = 3", "delete from t", "truncate t", "drop table t")])
    show("large", conn.execute("select md5(repeat('0123456789', 200000)), length(repeat('é', 1000000))").fetchone())
    show("many rows", sum(r[0] for r in conn.execute("select generate_series(1, 50000)")))

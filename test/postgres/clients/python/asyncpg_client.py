"""What asyncpg gets for its work, as text. It introspects types by itself and speaks the binary formats only."""
import asyncio
import io
import os
import asyncpg

url = os.environ["CLIENT_URL"]


def show(label, value):
    print(f"{label}: {value!r}", flush=True)


async def failing(label, work):
    try:
        await work
        show(label, "no error")
    except asyncpg.PostgresError as e:
        show(label, (type(e).__name__, e.sqlstate, e.message, e.detail, e.hint, e.position, e.constraint_name))


async def main():
    conn = await asyncpg.connect(url)
    show("version", tuple(conn.get_server_version()))
    show("settings", conn.get_settings().server_version)
    show("rows", [tuple(r) for r in await conn.fetch("select * from orders order by id limit 5")])
    show("enum array", await conn.fetchval("select array['open', 'paid']::order_status[]"))
    show("composite", tuple(await conn.fetchval("select c from customers c where id = 3")))
    show("parameters", await conn.fetchval("select $1::int[] || $2::int", [1, 2], 3))
    statement = await conn.prepare("select id, email from customers where city = $1 order by id")
    show("attributes", [(a.name, a.type.name) for a in statement.get_attributes()])
    for city in ("Oslo", "Lyon", "Lyon"):
        show(f"prepared {city}", [tuple(r) for r in await statement.fetch(city)])
    show("explain", await statement.explain("Lyon") != [])
    async with conn.transaction():
        show("cursor", [r["id"] async for r in conn.cursor("select id from payments order by id", prefetch=11)][-3:])
    await failing("undefined", conn.fetch("select * from nowhere"))
    await failing("unique", conn.execute("insert into customers (name, email, city, created_at) select name, email, city, created_at from customers where id = 1"))
    await failing("type", conn.fetch("select 'x'::int"))
    tr = conn.transaction()
    await tr.start()
    await conn.execute("create table bulk (id int, name text, at timestamptz)")
    await conn.executemany("insert into bulk values ($1, $2, now())", [(n, f"n{n}") for n in range(200)])
    show("executemany", await conn.fetchval("select sum(id) from bulk"))
    show("copy in", await conn.copy_records_to_table("bulk", records=[(n, None, None) for n in range(500)]))
    out = io.BytesIO()
    show("copy out", await conn.copy_from_query("select id, name from bulk order by id, name", output=out, format="csv"))
    show("bytes", len(out.getvalue()))
    await tr.rollback()
    got = asyncio.Queue()
    await conn.add_listener("news", lambda c, pid, channel, payload: got.put_nowait((channel, payload)))
    await conn.execute("select pg_notify('news', $1)", "hi")
    show("notification", await asyncio.wait_for(got.get(), 10))
    logs = []
    conn.add_log_listener(lambda c, m: logs.append((m.severity, m.message)))
    await conn.execute("do $$ begin raise warning 'careful'; end $$")
    await conn.fetchval("select 1")
    show("logs", logs)
    try:
        await conn.fetch("select pg_sleep(30)", timeout=0.5)
    except asyncio.TimeoutError:
        show("timeout", "cancelled")
    show("alive", await conn.fetchval("select 42"))
    await conn.reset()
    await conn.close()
    pool = await asyncpg.create_pool(url, min_size=2, max_size=5)
    show("pool", sorted(await asyncio.gather(*(pool.fetchval("select $1::int * 10", n) for n in range(20)))))
    await pool.close()


asyncio.run(main())

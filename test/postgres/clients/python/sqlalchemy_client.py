"""What SQLAlchemy gets for its work, as text: introspection, ORM, transactions, through psycopg 3."""
import os
from sqlalchemy import MetaData, create_engine, event, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.ext.automap import automap_base

url = os.environ["CLIENT_URL"].replace("postgresql://", "postgresql+psycopg://")
engine = create_engine(url, pool_pre_ping=True)


def show(label, value):
    print(f"{label}: {value!r}", flush=True)


inspector = inspect(engine)
show("schemas", inspector.get_schema_names())
show("tables", sorted(inspector.get_table_names()))
show("views", inspector.get_view_names())
show("view", inspector.get_view_definition("order_overview"))
for table in sorted(inspector.get_table_names()):
    show(f"{table} columns", [(c["name"], str(c["type"]), c["nullable"], c["default"], c.get("identity"), c["comment"]) for c in inspector.get_columns(table)])
    show(f"{table} keys", (inspector.get_pk_constraint(table), inspector.get_foreign_keys(table), inspector.get_indexes(table),
                           inspector.get_unique_constraints(table), inspector.get_check_constraints(table), inspector.get_table_comment(table)))
show("enums", inspector.get_enums())

Base = automap_base()
Base.prepare(autoload_with=engine)
Customer, Order = Base.classes.customers, Base.classes.orders
with Session(engine) as session:
    show("select", [(c.id, c.name, c.email, c.tags) for c in session.scalars(select(Customer).order_by(Customer.id).limit(4))])
    show("join", session.execute(select(Customer.city, func.count(), func.sum(Order.total)).join(Order, Order.customer_id == Customer.id)
                                 .group_by(Customer.city).order_by(Customer.city)).all())
    new = Customer(id=9100, name="Bo", email="bo@example.com", city="Cork", tags=["a"], created_at="2026-01-01T00:00:00Z")
    session.add(new)
    session.flush()
    new.city = "Lyon"
    session.flush()
    show("flushed", session.execute(text("select city from customers where id = 9100")).scalar())
    nested = session.begin_nested()
    try:
        session.execute(text("insert into customers (id, name, email, city, created_at) values (9100, '', '', '', now())"))
    except SQLAlchemyError as error:
        show("error", (type(error).__name__, error.orig.diag.sqlstate, error.orig.diag.message_primary))
        nested.rollback()
    session.delete(new)
    session.flush()
    show("deleted", session.get(Customer, 9100))
    session.rollback()

metadata = MetaData()
metadata.reflect(engine)
show("metadata", sorted(metadata.tables))
with engine.begin() as conn:
    rows = [{"n": n, "t": f"row {n}"} for n in range(300)]
    conn.execute(text("create temp table many (n int, t text)"))
    conn.execute(text("insert into many values (:n, :t)"), rows)
    show("many", conn.execute(text("select count(*), sum(n) from many")).one())
    result = conn.execution_options(stream_results=True, max_row_buffer=50).execute(text("select n from many order by n"))
    show("streamed", sum(r.n for r in result))
engine.dispose()

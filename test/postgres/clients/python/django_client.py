"""What Django gets for its work, as text: models over tables that are there, transactions, migrations, inspectdb."""
import io
import os
from urllib.parse import unquote, urlsplit
import django
from django.conf import settings

url = urlsplit(os.environ["CLIENT_URL"])
settings.configure(
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "notes"],
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "HOST": url.hostname, "PORT": url.port,
        "USER": unquote(url.username), "PASSWORD": unquote(url.password), "OPTIONS": {"sslmode": "disable"}}},
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import IntegrityError, connection, transaction  # noqa: E402
from django.db.models import Count, F, Q, Sum  # noqa: E402
from notes.models import Customer, Note, Order  # noqa: E402


def show(label, value):
    print(f"{label}: {value!r}", flush=True)


show("list", list(Customer.objects.order_by("id").values_list("id", "name", "email", "tags")[:4]))
show("related", [(o.id, o.customer.name, str(o.total)) for o in Order.objects.select_related("customer").order_by("id")[:4]])
show("prefetched", [(c.id, [o.id for o in c.orders.all()]) for c in Customer.objects.prefetch_related("orders").filter(id__lt=4).order_by("id")])
show("aggregate", list(Customer.objects.values("city").annotate(n=Count("orders"), sum=Sum("orders__total"))
                       .filter(Q(n__gt=2) | Q(city__icontains="o")).order_by("city")))
show("json", Order.objects.filter(items__0__has_key="sku").count())
with transaction.atomic():
    Customer.objects.create(id=9601, name="Ada", email="ada@example.edu", city="Turin", tags=["a"], created_at="2026-01-01T00:00:00Z")
    try:
        with transaction.atomic():
            Customer.objects.create(id=9601, name="", email="", city="", tags=[], created_at="2026-01-01T00:00:00Z")
    except IntegrityError as error:
        show("error", error.__cause__.diag.sqlstate)
    show("updated", Customer.objects.filter(id=9601).update(city=F("name")))
    show("locked", Customer.objects.select_for_update().get(id=9601).city)
    show("made", Customer.objects.get_or_create(id=9601)[1])
    more = [Customer(id=9602 + n, name=str(n), email=f"{n}@example.edu", city="", tags=[], created_at="2026-01-01T00:00:00Z") for n in range(50)]
    show("bulk", len(Customer.objects.bulk_create(more, ignore_conflicts=True)))
    show("streamed", sum(c.id for c in Customer.objects.filter(id__gt=9600).iterator(chunk_size=10)))
    show("deleted", Customer.objects.filter(id__gt=9600)._raw_delete("default"))

call_command("migrate", verbosity=0)
for label in ("migrated", "again"):
    call_command("migrate", verbosity=0)
    show(label, [(note.id, note.text, note.at is not None) for note in Note.objects.all()])
show("tables", sorted(connection.introspection.table_names()))
out = io.StringIO()
call_command("inspectdb", "customers", "orders", "payments", stdout=out)
show("inspected", out.getvalue())
call_command("migrate", "notes", "zero", verbosity=0)
connection.close()

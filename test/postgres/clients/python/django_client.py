"""What Django does: its own migrations, queries by its ORM, savepoints, and its reading of the database's tables."""

import io
import os
from urllib.parse import unquote, urlparse

import django
from django.conf import settings

url = urlparse(os.environ["CLIENT_URL"])
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path.lstrip("/"),
            "USER": unquote(url.username or ""),
            "PASSWORD": unquote(url.password or ""),
            "HOST": url.hostname,
            "PORT": url.port,
            "OPTIONS": {"sslmode": "disable"},
        }
    },
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import IntegrityError, connection, transaction  # noqa: E402
from django.db.models import Count, F, Q, Value  # noqa: E402
from django.db.models.functions import Lower, RowNumber  # noqa: E402
from django.db.models import Window  # noqa: E402

call_command("migrate", verbosity=0)
out = io.StringIO()
call_command("showmigrations", "auth", stdout=out)
print(out.getvalue().count("[X]"), "migrations of auth")
call_command("sqlmigrate", "auth", "0001", stdout=io.StringIO())

staff = Group.objects.create(name="staff")
User.objects.bulk_create([User(username=f"user{i}", email=f"U{i}@example.com", is_staff=i % 2 == 0) for i in range(25)])
for user in User.objects.filter(is_staff=True).order_by("id"):
    user.groups.add(staff)
print(User.objects.filter(groups__name="staff").count(), "in staff")
print(list(User.objects.filter(Q(username__startswith="user1") & ~Q(is_staff=True)).values_list("username", flat=True).order_by("username")))
print(list(User.objects.values("is_staff").annotate(n=Count("id")).order_by("is_staff")))
print(list(User.objects.annotate(low=Lower("email")).filter(low__contains="u2@").values_list("low", flat=True)))
print(list(User.objects.annotate(n=Window(RowNumber(), order_by=F("username").desc())).values_list("n", "username")[:3]))
print(User.objects.filter(username="user3").update(first_name=Value("Three"), last_name=F("username")))
print(User.objects.get(username="user3").last_name)
got, created = User.objects.get_or_create(username="user3", defaults={"email": "x"})
print(created, got.email)
print(User.objects.update_or_create(username="new", defaults={"email": "new@example.com"})[1])
try:
    with transaction.atomic():
        User.objects.create(username="kept-out")
        try:
            with transaction.atomic():
                User.objects.create(username="user3")
        except IntegrityError as error:
            print("refused inside:", type(error).__name__)
        print(User.objects.filter(username="kept-out").exists(), "after the savepoint")
        raise RuntimeError("take it back")
except RuntimeError:
    print(User.objects.filter(username="kept-out").exists(), "after the transaction")
with transaction.atomic():
    print(User.objects.select_for_update().get(username="user4").email)
for user in User.objects.order_by("id").iterator(chunk_size=7):
    last = user.username
print("iterated to", last)
print(User.objects.filter(username__in=["user1", "user2"]).delete())
print("explained:", User.objects.filter(id=1).explain() != "")

out = io.StringIO()
call_command("inspectdb", "auth_user", "auth_user_groups", stdout=out)
print(out.getvalue())
with connection.cursor() as cursor:
    print(sorted(table.name for table in connection.introspection.get_table_list(cursor) if table.name.startswith("auth_")))
    for name, constraint in sorted(connection.introspection.get_constraints(cursor, "auth_user_groups").items()):
        print(constraint["columns"], constraint["primary_key"], constraint["unique"], constraint["foreign_key"], constraint["index"])
call_command("migrate", "auth", "0005", verbosity=0)
call_command("migrate", "auth", verbosity=0)
print("migrated back and forth")

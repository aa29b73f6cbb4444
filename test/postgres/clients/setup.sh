#!/bin/sh
# Sets up the clients that are not npm packages, under the cache folder given: python in a venv, pgjdbc by maven, two Go
# programs, and what the object-relational mappers of npm need. What is there already is left alone, so a second run costs nothing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${1:-${AGENTGATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/agentgate-test}}
mkdir -p "$cache"
failed=0

python() {
  [ -x "$cache/venv/bin/python" ] && "$cache/venv/bin/python" -c 'import psycopg, asyncpg, sqlalchemy, django, jinja2' 2>/dev/null && return
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv" &&
    "$cache/venv/bin/pip" install -q --disable-pip-version-check 'psycopg[binary]==3.2.*' 'asyncpg==0.30.*' 'sqlalchemy==2.0.*' 'django==5.2.*' 'jinja2==3.*'
}

# Of pgAdmin its SQL templates only.
pgadmin() {
  [ -e "$cache/pgadmin/done" ] && return
  rm -rf "$cache/pgadmin"
  mkdir -p "$cache/pgadmin"
  "$cache/venv/bin/pip" download -q --disable-pip-version-check --no-deps -d "$cache/pgadmin" 'pgadmin4==9.*' &&
    "$cache/venv/bin/python" -c 'import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if "/templates/" in name and name.endswith((".sql", ".macros"))])' \
      "$cache"/pgadmin/*.whl "$cache/pgadmin" &&
    rm "$cache"/pgadmin/*.whl && touch "$cache/pgadmin/done"
}

java_() {
  if [ ! -e "$cache/java/postgresql.jar" ]; then
    mkdir -p "$cache/java"
    mvn -q -B dependency:copy -Dartifact=org.postgresql:postgresql:42.7.5 -DoutputDirectory="$cache/java" \
      -Dmdep.stripVersion=true
  fi
  for client in JdbcClient DbeaverClient HeldClient; do
    [ "$cache/java/$client.class" -nt "$here/java/$client.java" ] ||
      javac -cp "$cache/java/postgresql.jar" -d "$cache/java" "$here/java/$client.java" || return
  done
}

hibernate() {
  [ -e "$cache/hibernate/done" ] ||
    mvn -q -B -f "$here/java/hibernate/pom.xml" dependency:copy-dependencies -DoutputDirectory="$cache/hibernate" &&
    touch "$cache/hibernate/done" || return
  [ "$cache/hibernate/HibernateClient.class" -nt "$here/java/hibernate/HibernateClient.java" ] ||
    javac -cp "$cache/hibernate/*" -d "$cache/hibernate" "$here/java/hibernate/HibernateClient.java"
}

go_() {
  for client in pgx5 pgx4; do
    [ "$cache/$client" -nt "$here/go/$client/main.go" ] || (cd "$here/go/$client" && go build -o "$cache/$client" .)
  done
}

# Prisma's own tool would fetch an engine for migrations from a place of its own; what it makes here does without.
orm() {
  mkdir -p "$cache/orm"
  cat "$here/orm/package.json" "$here/orm/schema.prisma" | cmp -s - "$cache/orm/made-of" && return
  cp "$here/orm/package.json" "$here/orm/schema.prisma" "$cache/orm/"
  echo "export default { schema: 'schema.prisma', datasource: { url: 'postgresql://unused' } }" >"$cache/orm/prisma.config.ts"
  (cd "$cache/orm" && npm install --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error &&
    PRISMA_SCHEMA_ENGINE_BINARY=/bin/true PRISMA_HIDE_UPDATE_MESSAGE=1 npx prisma generate) &&
    cat "$here/orm/package.json" "$here/orm/schema.prisma" >"$cache/orm/made-of"
}

for step in python pgadmin java_ hibernate go_ orm; do
  ("$step") || { echo "setup: ${step%_} failed" >&2; failed=1; }
done
exit $failed

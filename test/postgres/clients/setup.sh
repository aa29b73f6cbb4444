#!/bin/sh
# Sets up the clients that are not npm packages, under the cache folder given: python in a venv, pgjdbc by maven, two Go
# programs, and what the object-relational mappers of npm need. What is there already is left alone, so a second run costs nothing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${1:-${AGENTGATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/agentgate-test}}
mkdir -p "$cache"
failed=0

python() {
  [ -x "$cache/venv/bin/python" ] && "$cache/venv/bin/python" -c 'import psycopg, asyncpg, sqlalchemy, django' 2>/dev/null && return
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv" &&
    "$cache/venv/bin/pip" install -q --disable-pip-version-check 'psycopg[binary]==3.2.*' 'asyncpg==0.30.*' 'sqlalchemy==2.0.*' 'django==5.2.*'
}

java_() {
  if [ ! -e "$cache/java/postgresql.jar" ]; then
    mkdir -p "$cache/java"
    mvn -q -B dependency:copy -Dartifact=org.postgresql:postgresql:42.7.5 -DoutputDirectory="$cache/java" \
      -Dmdep.stripVersion=true
  fi
  [ "$cache/java/JdbcClient.class" -nt "$here/java/JdbcClient.java" ] ||
    javac -cp "$cache/java/postgresql.jar" -d "$cache/java" "$here/java/JdbcClient.java"
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
  cmp -s "$here/orm/package.json" "$cache/orm/package.json" && cmp -s "$here/orm/schema.prisma" "$cache/orm/schema.prisma" &&
    [ -e "$cache/orm/node_modules/.prisma/client/index.js" ] && return
  cp "$here/orm/schema.prisma" "$cache/orm/"
  cp "$here/orm/package.json" "$cache/orm/package.json"
  echo "export default { schema: 'schema.prisma', datasource: { url: 'postgresql://unused' } }" >"$cache/orm/prisma.config.ts"
  (cd "$cache/orm" && npm install --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error &&
    PRISMA_SCHEMA_ENGINE_BINARY=/bin/true PRISMA_HIDE_UPDATE_MESSAGE=1 npx prisma generate) || {
    rm -f "$cache/orm/package.json"
    return 1
  }
}

for step in python java_ hibernate go_ orm; do
  ("$step") || { echo "setup: ${step%_} failed" >&2; failed=1; }
done
exit $failed

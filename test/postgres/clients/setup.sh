#!/bin/sh
# Sets up the clients that are not npm packages, under the cache folder given: python in a venv, pgjdbc by maven, two Go
# programs. What is there already is left alone, so a second run costs nothing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${1:-${AGENTGATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/agentgate-test}}
mkdir -p "$cache"
failed=0

python() {
  [ -x "$cache/venv/bin/python" ] && "$cache/venv/bin/python" -c 'import psycopg, asyncpg, sqlalchemy, django' 2>/dev/null && return
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv" &&
    "$cache/venv/bin/pip" install -q --disable-pip-version-check 'psycopg[binary]==3.2.*' 'asyncpg==0.30.*' 'sqlalchemy==2.0.*' \
      'django==5.2.*'
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

go_() {
  for client in pgx5 pgx4; do
    [ "$cache/$client" -nt "$here/go/$client/main.go" ] || (cd "$here/go/$client" && go build -o "$cache/$client" .)
  done
}

orm_() {
  [ -e "$cache/orm/node_modules/typeorm/package.json" ] && [ -e "$cache/orm/node_modules/drizzle-orm/package.json" ] && return
  mkdir -p "$cache/orm"
  [ -e "$cache/orm/package.json" ] || echo '{ "private": true }' >"$cache/orm/package.json"
  npm install --silent --no-fund --no-audit --ignore-scripts --prefix "$cache/orm" typeorm@0.3 drizzle-orm@0.44 pg@8
}

for step in python java_ go_ orm_; do
  ("$step") || { echo "setup: ${step%_} failed" >&2; failed=1; }
done
exit $failed

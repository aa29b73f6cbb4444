#!/bin/sh
# Brings the grammars of PostgreSQL 13, 15, 16 and 17 from npm, as what each reads in a text is compared with 18's, under the cache
# folder given: what is there already is left alone. There is none of 14 that needs no build. No install script is run.
set -eu
cache=${1:-${AGENTGATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/agentgate-test}}
for version in 13.7.3 15.6.3 16.7.3 17.7.4; do
  folder=$cache/grammar-${version%%.*}
  [ -e "$folder/node_modules/libpg-query/wasm/libpg-query.wasm" ] && continue
  npm install --no-save --no-audit --no-fund --ignore-scripts --prefix "$folder" "libpg-query@$version"
done

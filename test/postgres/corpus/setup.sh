#!/bin/sh
# PostgreSQL's own regression tests, from the source package of the server that the tests run on: statements that nobody here
# wrote. apt verifies the package. Left under the cache folder given; what is there already is left alone.
set -eu
cache=${1:-${AGENTGATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/agentgate-test}}
target=$cache/postgres-regress
[ -e "$target/select.sql" ] && exit
. /etc/os-release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$target"
cat >"$work/source.sources" <<END
Types: deb-src
URIs: http://deb.debian.org/debian
Suites: $VERSION_CODENAME
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
options="-q -o Dir::Etc::sourcelist=$work/source.sources -o Dir::Etc::sourceparts=- -o Dir::State::lists=$work/lists"
cd "$work"
# shellcheck disable=SC2086
apt-get $options update
# shellcheck disable=SC2086
apt-get $options source --download-only postgresql-15
archive=$(echo postgresql-15_*.orig.tar.bz2)
folder=$(echo "$archive" | sed 's/_\(.*\)\.orig.*/-\1/; s/^postgresql-15-/postgresql-/')
tar -xjf "$archive" "$folder/src/test/regress/sql"
mv "$folder"/src/test/regress/sql/*.sql "$target"

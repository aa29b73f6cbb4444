#!/bin/sh
# Sets up what speaks S3, under the cache folder given: VersityGW, by go install, and moto, which has AWS's token service too.
# What is there already is left alone.
set -eu
cache=${1:-${AGENTGATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/agentgate-test}}
mkdir -p "$cache"
[ -x "$cache/versitygw" ] || GOBIN=$(cd "$cache" && pwd) go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
if [ ! -x "$cache/moto/bin/moto_server" ]; then
  python3 -m venv "$cache/moto"
  "$cache/moto/bin/pip" install --quiet --disable-pip-version-check 'moto[s3,sts]>=5,<6' flask flask-cors
fi

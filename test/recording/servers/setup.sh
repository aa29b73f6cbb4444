#!/bin/sh
# Sets up a server that speaks S3, under the cache folder given: VersityGW, by go install. What is there already is left alone.
set -eu
cache=${1:-${AGENTGATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/agentgate-test}}
mkdir -p "$cache"
[ -x "$cache/versitygw" ] || GOBIN=$(cd "$cache" && pwd) go install github.com/versity/versitygw/cmd/versitygw@v1.8.0

#!/bin/sh
# Builds the server that the tests of the MongoDB store run against, once per version of these files, outside the
# repository. Where it cannot be built, it says why and fails.
set -eu
cd "$(dirname "$0")"

name=ferretdb-$(cat go.mod go.sum main.go | sha256sum | cut -c1-12)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/flops-tests
[ ! -x "$cache/$name" ] || exit 0

if ! command -v go >/dev/null; then
    echo "FerretDB cannot be built: no Go toolchain (1.22 or newer) is installed." >&2
    exit 1
fi
mkdir -p "$cache"
if ! CGO_ENABLED=0 timeout "${BUILD_TIMEOUT_S:-900}" go build -trimpath -o "$cache/$name.$$" . >"$cache/build.log" 2>&1; then
    echo "FerretDB cannot be built with $(go version): $(tail -n 3 "$cache/build.log")" >&2
    exit 1
fi
mv "$cache/$name.$$" "$cache/$name"

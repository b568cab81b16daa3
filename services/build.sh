#!/bin/sh
# The steps of services/Dockerfile that need a package index: uv | code | dependencies EXTRA…
set -eu

if [ -f /run/secrets/settings ]; then
    set -a
    . /run/secrets/settings
    set +a
fi
if [ -f /run/secrets/ca ]; then
    export SSL_CERT_FILE=/run/secrets/ca PIP_CERT=/run/secrets/ca
fi

step=$1
shift
case $step in
uv)
    python3 -m venv /uv
    awk '/^uv==/ { found = 1 } found { print } found && !/\\$/ { exit }' locked.txt >uv.txt
    /uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes --no-deps --requirement uv.txt
    ;;
code)
    /uv/bin/uv build --quiet --wheel --build-constraints locked.txt --require-hashes --out-dir /wheel .
    /uv/bin/uv pip install --quiet --no-cache --no-deps --compile-bytecode --python "$(command -v python3)" --target /opt/code /wheel/*.whl
    ;;
dependencies)
    extras=$(printf ' --extra %s' "$@")
    [ $# -gt 0 ] || extras=
    /uv/bin/uv venv --quiet --python "$(command -v python3)" /opt/flops
    # shellcheck disable=SC2086  a list of words
    /uv/bin/uv pip install --quiet --link-mode copy --compile-bytecode --python /opt/flops/bin/python \
        --require-hashes --constraints locked.txt --requirements pyproject.toml $extras
    ;;
esac

#!/bin/sh
# Builds the images of FLOps' own services with BuildKit, and pushes them if a registry is given: services/images.sh [REGISTRY]
#
# IMAGES (flops) precedes the role in their names; BASE is another base than the Dockerfile's; ROLES are those to build;
# DOCKER is the program. What this machine needs to reach package indexes is passed on as build secrets.
set -eu

registry=${1:-}
docker=${DOCKER:-docker}
images=${IMAGES:-flops}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
roles=${ROLES:-observer manager builder data mock-data aggregator learner tracking inference}

settings=$(mktemp)
trap 'rm -f "$settings"' EXIT INT TERM
export -p | grep -E '^export (PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST)|UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|INSECURE_HOST)|(HTTPS?|ALL|NO)_PROXY|(https?|all|no)_proxy)=' >"$settings" || true
set -- --secret "id=settings,src=$settings"
certificates=${SSL_CERT_FILE:-${PIP_CERT:-${REQUESTS_CA_BUNDLE:-}}}
[ -z "$certificates" ] || set -- "$@" --secret "id=ca,src=$certificates"
[ -z "${BASE:-}" ] || set -- "$@" --build-arg "BASE=$BASE"
[ -z "${NETWORK:-}" ] || set -- "$@" --network "$NETWORK"

for role in $roles; do
    image=$images/$role:$version
    DOCKER_BUILDKIT=1 "$docker" build --quiet --file services/Dockerfile --target "$role" --tag "$image" "$@" . >/dev/null
    [ -z "$registry" ] || "$docker" tag "$image" "$registry/$image"
    [ -z "$registry" ] || "$docker" push --quiet "$registry/$image" >/dev/null
    echo "${registry:+$registry/}$image"
done

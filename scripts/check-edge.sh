#!/usr/bin/env bash
# Lets Envoy itself judge the rendered edge, with and without rate limits.
# Usage: scripts/check-edge.sh
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
envoy=$(.venv/bin/python -c 'from deploy.local.edge import BINARY; print(BINARY)')
for limit in 0 100; do
  RATE_LIMIT=$limit SCHEDULERS=scheduler:7000 GATEWAYS=gateway:7000 GATEWAYS_HTTP=gateway:8000:9090 \
    .venv/bin/python -m deploy.envoy "$work/$limit" >/dev/null
  "$envoy" --mode validate --log-level error -c "$work/$limit/envoy.yaml"
done

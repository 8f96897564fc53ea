#!/usr/bin/env bash
# Checks the contracts: style, compatibility with the last commit, and that gen/ is what proto/ says.
# Usage: scripts/check-proto.sh
set -euo pipefail
cd "$(dirname "$0")/.."

buf=$(echo node_modules/@bufbuild/buf-*/bin/buf)
[[ -x $buf ]] || {
  echo 'buf is missing: install Node 20 with npm, then run scripts/install.sh' >&2
  exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$buf" lint

# With uncommitted changes the last commit is what they must not break; in a clean tree (CI) it is what
# stood before the last commit that touched the contracts.
base=HEAD
if git diff --quiet HEAD -- proto/sentinel; then
  base=$(git log -1 --format=%H -- proto/sentinel 2>/dev/null)^
fi
if git rev-parse --quiet --verify "$base^{commit}" >/dev/null && git cat-file -e "$base:proto/sentinel" 2>/dev/null; then
  mkdir "$work/base"
  git archive "$base" proto buf.yaml | tar -x -C "$work/base"
  # Image against image: with two modules, `buf breaking .` compares two images with one and gives up.
  "$buf" build "$work/base" -o "$work/before.binpb"
  "$buf" build . -o "$work/after.binpb"
  "$buf" breaking "$work/after.binpb" --against "$work/before.binpb" \
    --config '{"version":"v2","breaking":{"use":["WIRE_JSON"]}}'
else
  echo 'no earlier contracts to compare with'
fi

scripts/generate.sh "$work/gen" >"$work/log" 2>&1 || {
  cat "$work/log" >&2
  exit 1
}
if ! diff -r --exclude=__pycache__ gen "$work/gen" >"$work/diff"; then
  head -20 "$work/diff" >&2
  echo 'gen/ is not what proto/ says: run make proto and commit' >&2
  exit 1
fi

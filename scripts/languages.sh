#!/usr/bin/env bash
# Installs what programs may be written in: the Debian packages that the language files name.
# Does nothing where nothing is missing, and may be run as often as one likes.
# Usage: LANGUAGES="java go" scripts/languages.sh; all of them by default
set -euo pipefail
cd "$(dirname "$0")/.."

readonly FILES=services/executor/languages
say() { printf ' · %s\n' "$*"; }

# The package names of one language file, one a line.
packages_of() { sed -n 's/^packages = \[\(.*\)\]$/\1/p' "$1" | tr -d '" ' | tr ',' '\n'; }

installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

read -ra wanted <<<"${LANGUAGES:-$(cd "$FILES" && echo *.toml | sed 's/\.toml//g')}"
missing=()
for language in "${wanted[@]}"; do
  file=$FILES/$language.toml
  if [[ ! -f $file ]]; then
    echo "no language file for $language; there are: $(cd "$FILES" && echo *.toml | sed 's/\.toml//g')" >&2
    exit 2
  fi
  while IFS= read -r package; do
    installed "$package" || missing+=("$package")
  done < <(packages_of "$file")
done
((${#missing[@]})) || exit 0
if [[ $EUID -ne 0 ]]; then
  echo "missing: ${missing[*]}; run as root: apt-get install ${missing[*]}" >&2
  exit 1
fi
say "Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# An empty or old package list is refreshed only when it is in the way.
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; }

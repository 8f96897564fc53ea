#!/usr/bin/env bash
# Makes this machine able to run `make up`, `make check` and `make test`: Debian packages, .venv, buf, launchers.
# Does nothing where nothing is missing, in well under a second, and may be run as often as one likes.
# Usage: scripts/install.sh
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian's own Python by its full path: a pyenv shim in PATH would build the environment from another one.
readonly PYTHON=/usr/bin/python3
readonly VENV=.venv
readonly STAMPS=$VENV/stamps
readonly PACKAGES=(
  postgresql-15 rabbitmq-server redis-server # the infrastructure
  python3-venv                               # ours runs in one
  gcc g++ libc6-dev                          # languages that programs may be written in
  curl jq                                    # what the documentation types
)

say() { printf ' · %s\n' "$*"; }

# True where `name` was last done with exactly these files and this recipe.
done_with() {
  local name=$1
  shift
  [[ -f $STAMPS/$name && $(<"$STAMPS/$name") == "$(digest "$@")" ]]
}
digest() { cat "$@" scripts/install.sh | sha256sum | cut -c1-16; }
mark() {
  local name=$1
  shift
  mkdir -p "$STAMPS"
  digest "$@" >"$STAMPS/$name"
}

missing_packages() {
  local package
  for package in "${PACKAGES[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || printf '%s\n' "$package"
  done
}

# Packages of servers start them at once, on the usual ports and for good. Ours are private: nobody needs those.
install_packages() {
  local missing=("$@") policy=/usr/sbin/policy-rc.d kept=
  if [[ $EUID -ne 0 ]]; then
    echo "missing: ${missing[*]}; run as root: apt-get install ${missing[*]}" >&2
    return 1
  fi
  say "Debian packages: ${missing[*]}"
  if [[ -e $policy ]]; then
    kept=$(mktemp "$policy.XXXXXX")
    mv "$policy" "$kept"
  fi
  # shellcheck disable=SC2064  # the values of now are the ones to restore
  trap "rm -f '$policy'; [[ -z '$kept' ]] || mv '$kept' '$policy'" EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  export DEBIAN_FRONTEND=noninteractive
  # An empty or old package list is refreshed only when it is in the way.
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; }
  rm -f "$policy"
  [[ -z $kept ]] || mv "$kept" "$policy"
  trap - EXIT
  if [[ -d /run/systemd/system ]]; then
    local package
    for package in "${missing[@]}"; do
      case $package in
        postgresql-15) systemctl disable --quiet postgresql || true ;;
        rabbitmq-server) systemctl disable --quiet rabbitmq-server epmd.socket epmd.service || true ;;
        redis-server) systemctl disable --quiet redis-server || true ;;
      esac
    done
  fi
}

# uv resolves nothing here: the lock says what and with which hashes; it is only quicker than pip at fetching it.
install_python() {
  if [[ ! -x $VENV/bin/python ]]; then
    say "Python environment in $VENV"
    "$PYTHON" -m venv "$VENV"
  fi
  if ! done_with python requirements.lock; then
    say 'Python packages from requirements.lock'
    if [[ ! -x $VENV/bin/uv ]]; then
      local uv_lock
      uv_lock=$(mktemp)
      awk '/^[a-z]/ {wanted = /^uv==/} wanted' requirements.lock >"$uv_lock"
      "$VENV/bin/python" -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r "$uv_lock"
      rm -f "$uv_lock"
    fi
    # The machine's own certificates, as pip is told to use too: a company's registry may show one that only it knows.
    "$VENV/bin/uv" pip install -q --system-certs --compile-bytecode --python "$VENV/bin/python" --require-hashes -r requirements.lock ||
      "$VENV/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
    mark python requirements.lock
  fi
}

# The repository and its generated code are importable as they stand; nothing of ours is installed or copied.
install_launchers() {
  local site
  site=$(echo "$VENV"/lib/python3.*/site-packages)
  write_if_new "$site/sentinel.pth" "$PWD"$'\n'"$PWD/gen"
  write_if_new "$VENV/bin/sentinel" "#!$PWD/$VENV/bin/python
\"\"\"The sentinel command.\"\"\"
from cli.main import app

app()"
  chmod 755 "$VENV/bin/sentinel"
}
write_if_new() { [[ -f $1 && $(<"$1") == "$2" ]] || printf '%s\n' "$2" >"$1"; }

# buf checks and compares the protos; running a mesh does not need it.
install_buf() {
  if ! command -v npm >/dev/null; then
    say "npm is missing: 'make check' needs it (Node 20), 'make up' does not"
    return
  fi
  if ! done_with node package-lock.json; then
    say 'buf from package-lock.json'
    npm ci --loglevel=error --no-audit --no-fund >/dev/null
    mark node package-lock.json
  fi
}

mapfile -t missing < <(missing_packages)
if ((${#missing[@]})); then
  install_packages "${missing[@]}"
fi
install_python
install_launchers
install_buf

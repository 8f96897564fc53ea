#!/usr/bin/env bash
# A ledger: reads movements of money, refuses what cannot be, prints what is left.
set -euo pipefail

declare -A accounts

deposit() {
  local name=$1 amount=$2
  accounts[$name]=$((${accounts[$name]:-0} + amount))
}

withdraw() {
  local name=$1 amount=$2
  local held=${accounts[$name]:-0}
  if ((held < amount)); then
    echo "line $number: $name has only $held"
    return 1
  fi
  accounts[$name]=$((held - amount))
}

transfer() {
  local from=$1 to=$2 amount=$3
  if withdraw "$from" "$amount"; then
    deposit "$to" "$amount"
  fi
}

apply() {
  local line=$1
  local -a words
  read -ra words <<<"$line"
  case "${words[0]}:${#words[@]}" in
    deposit:3) deposit "${words[@]:1}" ;;
    withdraw:3) withdraw "${words[@]:1}" || true ;;
    transfer:4) transfer "${words[@]:1}" ;;
    *) printf 'line %d: cannot read "%s"\n' "$number" "$line" ;;
  esac
}

main() {
  local number=0 line total=0 name
  while IFS= read -r line; do
    number=$((number + 1))
    apply "$line"
  done
  for name in $(printf '%s\n' "${!accounts[@]}" | sort); do
    echo "$name ${accounts[$name]}"
    total=$((total + accounts[$name]))
  done
  echo "total $total"
}

main "$@"

set -euo pipefail
trap 'echo "exit trap"' EXIT
seq 10 | sort -rn | head -3 | tr '\n' ' ' | sed 's/ $/\n/'
(sleep 0.05; echo "background") &
wait
file=$(mktemp)
cat >"$file" <<<"kept"
echo "tempfile $(cat "$file")"
awk 'BEGIN { print "awk", 6 * 7 }'
mapfile -t lines <<<$'a\nb'
echo "mapfile ${#lines[@]}"
coproc { read -r word; echo "got $word"; }
echo ping >&"${COPROC[1]}"
read -r answer <&"${COPROC[0]}"
echo "coproc $answer"
find /work -name '*.sh' | xargs grep -c pipefail
id -un
date -d 2024-02-28+2days +%F

source "$(dirname "$0")/lib/part.sh"
IFS="|"
echo "$(word) $* $GREETING"

set -euo pipefail
boom() { no_such_command; }
boom

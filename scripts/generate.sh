#!/usr/bin/env bash
# Generates gen/ from proto/: messages, stubs, types, and the descriptor set that Envoy and OpenAPI read.
# Usage: scripts/generate.sh [output folder, default gen]
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-gen}
bin=${VENV:-.venv}/bin

# Made aside and put in place at the end: whoever imports gen/ meanwhile finds it whole.
mkdir -p "$(dirname "$target")"
out=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$out"' EXIT
chmod 755 "$out"
PATH="$bin:$PATH" "$bin/python" -m grpc_tools.protoc -I proto -I proto/third_party \
  --python_out="$out" --mypy_out="$out" \
  --grpc_python_out="$out" --mypy_grpc_out="$out" \
  sentinel/v1/{submission,evidence,event,scheduler,status,executor}.proto \
  buf/validate/validate.proto ratelimit/v3/rls.proto
# Files without a service still get empty gRPC modules; nothing imports them.
grep -L 'Servicer' "$out"/*/*/*_pb2_grpc.py "$out"/*/*/*_pb2_grpc.pyi | xargs -r rm
"$bin/python" -m grpc_tools.protoc -I proto -I proto/third_party --include_imports \
  --descriptor_set_out="$out/sentinel.binpb" \
  sentinel/v1/{scheduler,status,executor}.proto google/rpc/error_details.proto
# Our own files once more, with their comments: what the OpenAPI document is written from.
"$bin/python" -m grpc_tools.protoc -I proto -I proto/third_party --include_source_info \
  --descriptor_set_out="$out/sentinel.docs.binpb" \
  sentinel/v1/{submission,evidence,event,scheduler,status}.proto

rm -rf "$target"
mv "$out" "$target"
trap - EXIT

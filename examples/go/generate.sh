#!/usr/bin/env bash
# Generates gen/ from the repository's proto/. Needs go; protoc comes with the repository's Python environment.
set -euo pipefail
cd "$(dirname "$0")"
root=../..
module=example.org/sentinel-client
mkdir -p .bin && rm -rf gen && mkdir gen
go build -o .bin/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc

# The protos name no Go package, since only Go clients need one: it is given here.
public=(submission.proto evidence.proto event.proto scheduler.proto status.proto)
options=("Mbuf/validate/validate.proto=$module/gen/buf/validate")
for name in "${public[@]}"; do
  options+=("Msentinel/v1/$name=$module/gen/sentinel/v1")
done
flags=()
for option in "${options[@]}" "module=$module"; do
  flags+=("--go_opt=$option" "--go-grpc_opt=$option")
done
PATH="$PWD/.bin:$PATH" "$root/.venv/bin/python" -m grpc_tools.protoc \
  -I "$root/proto" -I "$root/proto/third_party" --go_out=. --go-grpc_out=. "${flags[@]}" \
  buf/validate/validate.proto "${public[@]/#/sentinel/v1/}"

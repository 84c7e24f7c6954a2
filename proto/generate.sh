#!/usr/bin/env bash
# Generates Go code from the .proto files with plugins pinned in go.mod; needs protoc (Debian: protobuf-compiler).
set -euo pipefail
cd "$(dirname "$0")"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -o "$bin/protoc-gen-go" google.golang.org/protobuf/cmd/protoc-gen-go
go build -o "$bin/protoc-gen-go-grpc" google.golang.org/grpc/cmd/protoc-gen-go-grpc
PATH="$bin:$PATH" protoc -I . \
  --go_out=. --go_opt=module=github.com/isthmus-gateway/isthmus/proto \
  --go-grpc_out=. --go-grpc_opt=module=github.com/isthmus-gateway/isthmus/proto \
  isthmus/iq/v1/iq.proto isthmus/admin/v1/admin.proto

# Image of the demo core, for docker-compose.yml only. Build from the root of the repository.
FROM golang:1.26-bookworm AS build
WORKDIR /src
ENV CGO_ENABLED=0
COPY . .
RUN go build -trimpath -o /out/democore ./integration/cmd/democore

FROM debian:bookworm-slim
COPY --from=build /out/democore /usr/local/bin/democore
USER 10001:10001
ENTRYPOINT ["/usr/local/bin/democore"]

# syntax=docker/dockerfile:1
# A static binary on an empty base: no shell, no package manager, a numeric user, nothing to write to.
#
#   docker build -t spanbridge .

FROM rust:1.95-alpine AS tools
# For the C code of ring, zstd and mimalloc.
RUN apk add --no-cache build-base ca-certificates
RUN cargo install cargo-chef --locked --version 0.1.78
WORKDIR /build

# What the dependencies are, without our own sources: this layer and the next change only with the manifests.
FROM tools AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json --bin spanbridge

FROM tools AS build
COPY --from=plan /build/recipe.json .
RUN cargo chef cook --release --locked --package spanbridge --recipe-path recipe.json
COPY . .
RUN cargo build --release --locked --package spanbridge && \
    if readelf -l target/release/spanbridge | grep -q INTERP; then echo "the binary is not static" >&2; exit 1; fi

FROM scratch
COPY --from=tools /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/spanbridge /spanbridge
USER 65532:65532
# OTLP/gRPC, the process's own metrics, health_check.
EXPOSE 4317 8888 13133
ENTRYPOINT ["/spanbridge"]

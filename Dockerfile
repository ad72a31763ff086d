# The image: the programs on a base without shell and package manager.
#
#   docker build -t pgexporter .
#
# BuildKit, docker and buildah build it as it is, for amd64 and arm64.

FROM rust:1.95-bookworm AS build
# `release`, or the faster made `quick`, as in Cargo.toml.
ARG PROFILE=release
WORKDIR /build

# The dependencies, a layer of their own: only Cargo.lock makes them anew. Programs that do
# nothing stand in for the sources, also for those of the tests' crates; benchmarks are left out.
COPY Cargo.toml Cargo.lock ./
COPY tests/support/Cargo.toml tests/support/
COPY xtask/Cargo.toml xtask/
RUN sed -i '/^\[\[bench\]\]$/,/^$/d' Cargo.toml \
    && mkdir -p src/bin xtask/src \
    && touch src/lib.rs tests/support/lib.rs \
    && echo 'fn main() {}' >xtask/src/main.rs \
    && for program in pgexporter pgexporter-admin pgexporter-cli; do \
        echo 'fn main() {}' >"src/bin/$program.rs"; \
    done \
    && cargo build --locked --profile "$PROFILE" --bin pgexporter

# Files keep their times when they are copied, and would seem older than what stood in for them.
COPY src src
# One file is all three programs, by the name that it is called by.
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --locked --profile "$PROFILE" --bin pgexporter \
    && install -s -D -t /image/usr/local/bin "target/$PROFILE/pgexporter" \
    && for program in pgexporter-admin pgexporter-cli; do \
        ln -s pgexporter "/image/usr/local/bin/$program"; \
    done \
    && install -d -o 65532 -g 65532 /run-pgexporter
COPY LICENSE /image/usr/share/doc/pgexporter/LICENSE

FROM gcr.io/distroless/cc-debian12:nonroot
# `docker build --build-arg REVISION=$(git rev-parse HEAD)`
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="pgexporter" \
      org.opencontainers.image.description="Prometheus exporter for PostgreSQL" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.url="https://pgexporter.io" \
      org.opencontainers.image.documentation="https://pgexporter.io/docs" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /image/ /
# The folder of the socket. With it and /tmp writable, the rest may be read-only.
COPY --from=build --chown=65532:65532 /run-pgexporter /run/pgexporter
# A number, so that `runAsNonRoot` can tell.
USER 65532:65532
# Metrics and the overview, health, management.
EXPOSE 5002 5003 5004
ENTRYPOINT ["/usr/local/bin/pgexporter"]
CMD ["-c", "/etc/pgexporter/pgexporter.conf"]

# The image of b24kafka: the program alone on glibc, with certificates, time zones and no shell, as user 65532.
#
#   make image                                         from source
#   docker build --target prebuilt -f Dockerfile DIR   the same image around a binary DIR/b24kafka from elsewhere
#
# From source it takes a builder that leaves out the stages it does not need: BuildKit (Docker's default since 23), or
# that of Podman. The root file system may be read-only; with the registry of files, /var/lib/b24kafka has to be a volume
# that the user may write to.

# A Rust of Cargo.toml's version or newer, with a C compiler, make and perl for librdkafka and OpenSSL.
ARG BUILDER=docker.io/library/rust:1.95-bookworm
# glibc of the builder's age or newer, libgcc and certificates.
ARG RUNTIME=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUNTIME} AS runtime
USER 65532:65532
WORKDIR /var/lib/b24kafka
EXPOSE 8080 9464
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/b24kafka"]
CMD ["run", "--config", "/etc/b24kafka/b24kafka.toml"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="b24kafka" \
      org.opencontainers.image.description="Moves the offline events of Bitrix24 portals into Apache Kafka and loses none of them" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Before the build, so that a builder which goes through the stages one by one does not compile for it.
FROM runtime AS prebuilt
COPY b24kafka /usr/bin/b24kafka

FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
ARG REVISION=unknown
# Four fifths of the binary would be debugging information, most of it of C libraries. Functions keep their names.
RUN B24KAFKA_REVISION="${REVISION}" CARGO_PROFILE_RELEASE_STRIP=debuginfo cargo build --release --locked --bin b24kafka

FROM runtime
COPY --from=build /src/target/release/b24kafka /usr/bin/b24kafka

# Two ways to the same image:
#
#   docker build -t modelfetch .                        builds the binary in a container
#   docker build -t modelfetch --target prebuilt DIR    takes `modelfetch` and `ca-certificates.crt` from DIR

# What is in the image beside the program, which is static and needs nothing else.
FROM scratch AS image
LABEL org.opencontainers.image.title="modelfetch" \
      org.opencontainers.image.description="Fetches model files from the Hugging Face Hub: parallel, resumable, verified, atomic." \
      org.opencontainers.image.licenses="Apache-2.0"
# The Mozilla roots are built in. This is the place where a mounted bundle of a company's own is looked for.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /models
ENTRYPOINT ["/modelfetch"]

# 0711: nobody but root may read the program, so that the kernel lets no other process look into its memory, where the token
# is, from its first instruction on.
FROM image AS prebuilt
COPY ca-certificates.crt /etc/ssl/certs/
COPY --chmod=0711 modelfetch /

# The index of both architectures of rust:1.95.0-bookworm. The release workflow builds in the same image.
FROM docker.io/library/rust:1.95.0-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1 AS build
WORKDIR /source
# Scanners then see the crates that are in the program.
RUN cargo install --locked --version 0.7.7 cargo-auditable
COPY . .
RUN cargo auditable build --release --locked --bin modelfetch \
    && cp "target/$(rustc -vV | sed -n 's/^host: //p')/release/modelfetch" /modelfetch

FROM image
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chmod=0711 /modelfetch /

# An image of one static binary and nothing else.
#
#   docker build -t headroom --build-arg VERSION=$(git describe --tags --always) .
#   docker run -d --name headroom -v headroom:/run/headroom -v headroom-state:/var/lib/headroom headroom
#
# It listens on the socket in the first volume and, inside the container only, on 127.0.0.1:7070; the second
# one lets the next container know which permits may be in use. A directory of the host in place of a volume
# must belong to the user 65532. How it sees the host, and how to reach it
# over TCP, is in docs/operations.md.

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=dev TARGETOS TARGETARCH
# The revision is not in the binary because .git is not in the context; VERSION names it.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/cache \
    GOCACHE=/cache CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -buildid= -X main.version=${VERSION#v}" -o /image/headroom ./cmd/headroom \
 && install -d -m 0750 -o 65532 -g 65532 /image/run/headroom \
 && install -d -m 0700 -o 65532 -g 65532 /image/var/lib/headroom

FROM scratch
COPY --from=build /image /
COPY LICENSE /
USER 65532:65532
ENV HEADROOM_SOCKET=/run/headroom/headroom.sock HEADROOM_STATE_DIR=/var/lib/headroom
VOLUME /run/headroom /var/lib/headroom
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/headroom", "health"]
ENTRYPOINT ["/headroom"]
CMD ["serve"]

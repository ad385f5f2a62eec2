# The base by digest: the same Python and the same Debian in every build. It names an index of several architectures.
# To move it on: docker buildx imagetools inspect python:3.13-slim-bookworm
ARG BASE=python:3.13.14-slim-bookworm@sha256:67a1e1f215ccda113cfc024e8639049257e88f273898f595b61476d128d387e8

FROM ${BASE} AS build
# The version that wrote uv.lock.
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/tailsts
WORKDIR /src
# First what changes seldom, so that the layer is kept.
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-dev --extra redis --extra otel --no-install-project
COPY README.md LICENSE ./
COPY src ./src
RUN uv sync --locked --no-dev --extra redis --extra otel --no-editable

# glibc: the HTTP libraries have no wheels for every musl.
FROM ${BASE}
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tailsts
COPY --from=build /opt/tailsts /opt/tailsts
# In a container the network around it is the boundary, not loopback. The admin port is for probes and Prometheus:
# do not publish it. Nothing is written below the root: it can be read-only.
ENV PATH=/opt/tailsts/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    POLICIES_DIR=/policies \
    TAILSTS_HOST=0.0.0.0 \
    TAILSTS_ADMIN_HOST=0.0.0.0 \
    TAILSTS_ADMIN_PORT=9090
USER 10001:10001
EXPOSE 8080 9090
# Whether it answers, not whether it is ready: an issuer's outage is no reason to start it anew. Of the admin port, where
# no stranger can stand in the way: nor is a crowd.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-I", "-c", "import http.client, os, sys; asked = http.client.HTTPConnection('127.0.0.1', int(os.environ['TAILSTS_ADMIN_PORT']), timeout=4); asked.request('GET', '/healthz'); sys.exit(asked.getresponse().status != 200)"]
ENTRYPOINT ["tailsts", "serve"]

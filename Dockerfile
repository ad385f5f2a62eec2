# syntax=docker/dockerfile:1
FROM python:3.13-slim-bookworm AS build
# The version that wrote uv.lock.
RUN pip install --no-cache-dir uv==0.13.9
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/tailsts
WORKDIR /src
# First what changes seldom, so that the layer is kept.
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-dev --no-install-project
COPY README.md LICENSE ./
COPY src ./src
RUN uv sync --locked --no-dev --no-editable

# glibc: the HTTP libraries have no wheels for every musl.
FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tailsts
COPY --from=build /opt/tailsts /opt/tailsts
# In a container the network around it is the boundary, not loopback. The admin port is for probes and Prometheus:
# do not publish it.
ENV PATH=/opt/tailsts/bin:$PATH \
    POLICIES_DIR=/policies \
    TAILSTS_HOST=0.0.0.0 \
    TAILSTS_ADMIN_HOST=0.0.0.0 \
    TAILSTS_ADMIN_PORT=9090
USER 10001:10001
EXPOSE 8080 9090
ENTRYPOINT ["tailsts", "serve"]

# The worker: everything that a night needs. CPU by default; for a GPU:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 -t errata .
# `--target service` builds the inference service instead, without torch. Tags move: pin the base by digest where you build.
FROM python:3.11-slim-bookworm AS project
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements.lock ./
RUN grep -E '^setuptools==' requirements.lock > setuptools.lock && pip install --no-deps -r setuptools.lock
COPY pyproject.toml README.md ./
COPY editing ./editing
COPY data ./data
COPY flows ./flows
COPY serving ./serving
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11-slim-bookworm AS worker-packages
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/errata
COPY requirements.lock ./
# torch first and alone: from this index, whatever the others offer
RUN grep -E '^torch(vision)?==' requirements.lock > torch.lock \
    && /opt/errata/bin/pip install --no-deps --index-url "${TORCH_INDEX}" -r torch.lock \
    && /opt/errata/bin/pip install --no-deps -r requirements.lock
COPY --from=project /wheels /wheels
RUN /opt/errata/bin/pip install --no-deps /wheels/*.whl

FROM python:3.11-slim-bookworm AS service-packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/errata
COPY requirements-service.lock ./
RUN /opt/errata/bin/pip install --no-deps -r requirements-service.lock
COPY --from=project /wheels /wheels
RUN /opt/errata/bin/pip install --no-deps /wheels/*.whl && /opt/errata/bin/python -m serving --help > /dev/null

FROM python:3.11-slim-bookworm AS base
ENV PATH=/opt/errata/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    ERRATA_WORKSPACE=/workspace
RUN useradd --uid 1000 --create-home errata && install -d -o errata -g errata /workspace /home/errata/.cache
USER 1000:1000
WORKDIR /workspace

FROM base AS service
COPY --from=service-packages /opt/errata /opt/errata
EXPOSE 8000
# alive, also before the first release, when /healthz says 503: there is nothing to serve yet
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/metrics', timeout=2)"]
CMD ["sh", "-c", "exec python -m serving --store \"$ERRATA_STORE\" --host 0.0.0.0 --port 8000"]

FROM base AS worker
COPY --from=worker-packages /opt/errata /opt/errata
# what a workspace starts from; a volume over it keeps artifacts, DVC's cache and dvc.lock between nights
COPY --chown=errata:errata dvc.yaml params.yaml prefect.yaml prefect-docker.yaml .dvcignore ./
COPY --chown=errata:errata .dvc/config .dvc/config
RUN printf '[core]\n    no_scm = true\n' > .dvc/config.local
CMD ["prefect", "worker", "start", "--pool", "errata", "--type", "process"]

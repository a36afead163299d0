# The worker: everything that a night needs. CPU by default; for a GPU:
#   docker build --build-arg TORCH_INDEX=https://pypi.org/simple -t errata .
# `--target service` builds the inference service instead, without torch. Every package must have a digest that its lock
# names; so must the base: `docker buildx imagetools inspect python:3.11-slim-bookworm` tells that of a newer one.
ARG PYTHON=python:3.11.17-slim-bookworm@sha256:0a310eeecf4e1f5a0743f9a6520c90c88d089c903ca5fd283f501e3a805f5f89

FROM ${PYTHON} AS project
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements.lock ./
RUN awk '/^[^ ]/ { wanted = /^setuptools==/ } wanted' requirements.lock > setuptools.lock \
    && pip install --no-deps --require-hashes -r setuptools.lock
COPY pyproject.toml README.md ./
COPY errata ./errata
COPY editing ./editing
COPY data ./data
COPY flows ./flows
COPY serving ./serving
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

# Packages come without bytecode (a sixth of their size), which the first run of each container writes where it may,
# without their own tests, without torch's headers and ONNX Runtime's C library (the Python module has it in it).
FROM ${PYTHON} AS worker-packages
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv --without-pip /opt/errata
COPY requirements-worker.lock requirements-cuda.lock ./
# torch first and alone, as in the Makefile: PyPI's build is CUDA's and wants its libraries
RUN awk '/^[^ ]/ { wanted = /^torch(vision)?==/ } wanted' requirements-worker.lock > torch.lock \
    && pip --python /opt/errata/bin/python install --no-compile --no-deps --require-hashes --extra-index-url "${TORCH_INDEX}" -r torch.lock \
    && if grep -qE "^cuda.*= '" /opt/errata/lib/python3*/site-packages/torch/version.py; \
       then pip --python /opt/errata/bin/python install --no-compile --no-deps --require-hashes -r requirements-cuda.lock; fi \
    && pip --python /opt/errata/bin/python install --no-compile --no-deps --require-hashes -r requirements-worker.lock \
    && cd /opt/errata/lib/python3*/site-packages \
    && rm -r torch/include onnx/backend/test onnxruntime/capi/libonnxruntime.so.* \
    && find /opt/errata -type d -name tests -prune -exec rm -r {} +
COPY --from=project /wheels /wheels
RUN pip --python /opt/errata/bin/python install --no-compile --no-deps /wheels/*.whl

FROM ${PYTHON} AS service-packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
RUN python -m venv --without-pip /opt/errata
COPY requirements-service.lock ./
# A third of what these packages bring serving never opens: ONNX Runtime's and numpy's tools, AVIF, which is not taken,
# botocore's descriptions of AWS's other services, sources. What is left is run by tests/serving/test_main.py.
RUN pip --python /opt/errata/bin/python install --no-compile --no-deps --require-hashes -r requirements-service.lock \
    && find /opt/errata -type d -name tests -prune -exec rm -r {} + \
    && cd /opt/errata/lib/python3*/site-packages \
    && rm -r onnx/backend/test onnx/reference numpy/distutils numpy/f2py PIL/_avif* pillow.libs/libavif* \
       onnxruntime/capi/libonnxruntime.so.* onnxruntime/datasets onnxruntime/quantization onnxruntime/tools onnxruntime/transformers \
    && find . -regex '.*\.\(a\|cc\|h\|hpp\|proto\|pxd\|pyi\)' -delete \
    && find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name 'sso*' ! -name signin -exec rm -r {} +
COPY --from=project /wheels /wheels
RUN pip --python /opt/errata/bin/python install --no-compile --no-deps /wheels/*.whl \
    && /opt/errata/bin/python -m errata.serving --help > /dev/null

FROM ${PYTHON} AS base
ENV PATH=/opt/errata/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONPYCACHEPREFIX=/home/errata/.cache/bytecode \
    DO_NOT_TRACK=1 \
    ORT_DISABLE_TELEMETRY=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    ERRATA_WORKSPACE=/workspace
RUN useradd --uid 1000 --create-home errata && install -d -o errata -g errata /workspace /prefect /home/errata/.cache
USER 1000:1000
WORKDIR /workspace

FROM base AS service
COPY --from=service-packages /opt/errata /opt/errata
EXPOSE 8000
# alive, also before the first release, when /healthz says 503: there is nothing to serve yet
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/metrics', timeout=2)"]
CMD ["sh", "-c", "exec python -m errata.serving --store \"$ERRATA_STORE\" --host 0.0.0.0 --port 8000"]

FROM base AS worker
COPY --from=worker-packages /opt/errata /opt/errata
# what a workspace starts from; a volume over it keeps artifacts, DVC's cache and dvc.lock between nights
COPY --chown=errata:errata params.yaml prefect.yaml prefect-docker.yaml .dvcignore ./
COPY --chown=errata:errata .dvc/config .dvc/config
# the pipeline as a project of its own spells it: here is no folder `flows` for `dvc repro` to find
RUN printf '[core]\n    no_scm = true\n' > .dvc/config.local \
    && PYTHONDONTWRITEBYTECODE=1 python -c "import sys; from errata.flows.releases.pipeline import own_pipeline; sys.stdout.buffer.write(own_pipeline())" > dvc.yaml
CMD ["prefect", "worker", "start", "--pool", "errata", "--type", "process"]

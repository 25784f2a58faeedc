# One file, three images from the same parts.
#   docker compose build   makes `production` and `serving`, for docker-compose.yaml and Kubernetes.
#   astro dev start        makes the last stage: Astro Runtime, for the Astro CLI and Astronomer.

ARG PYTHON_IMAGE=python:3.12-slim-bookworm
FROM ${PYTHON_IMAGE} AS python
# OpenMP for the boosted trees.
# A volume takes its owner from the folder of the image, so the folders of volumes are made here.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && groupadd --gid 50000 evermodel \
    && useradd --uid 50000 --gid 50000 --create-home evermodel \
    && mkdir -p /opt/airflow/logs /opt/evermodel/data/home /opt/evermodel/data/tmp \
    && chown -R evermodel:evermodel /opt/evermodel /opt/airflow
WORKDIR /opt/airflow
ENV EVERMODEL_HOME=/opt/evermodel/data \
    EVERMODEL_MODELS=/opt/airflow/include/models \
    PYTHONUNBUFFERED=1
# Reaps what tasks leave behind, and hands signals on.
ENTRYPOINT ["tini", "--"]

# The serving app: without Airflow, and without what only training needs.
FROM python AS serving
# Every file that is installed, or builds what has no wheel, has a SHA-256 in a list: `make hashes` writes both lists from
# requirements-production.txt.
COPY include/deploy/serving.hashes.txt ./
RUN pip install --no-cache-dir uv==0.13.9 \
    && uv pip install --system --no-cache --compile-bytecode --build-constraints serving.hashes.txt \
        --require-hashes -r serving.hashes.txt \
    && pip uninstall -y uv
COPY --chown=evermodel:evermodel . .
RUN pip install --no-cache-dir --no-build-isolation --no-deps .
# By number: Kubernetes cannot tell from a name that it is not root.
USER 50000:50000
# The build sees no .git; what the image was built from is said from outside.
ARG EVERMODEL_COMMIT=""
ENV EVERMODEL_COMMIT=$EVERMODEL_COMMIT
CMD ["evermodel", "--help"]

# Every other service: Airflow and its workers, MLflow, Evidently.
FROM python AS production
# git reads the commit of a DAG bundle, which every model version names.
RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY include/deploy/requirements.hashes.txt ./
# The libraries' own tests are 150 MB.
RUN pip install --no-cache-dir uv==0.13.9 \
    && uv pip install --system --no-cache --compile-bytecode --build-constraints requirements.hashes.txt \
        --require-hashes -r requirements.hashes.txt \
    && pip uninstall -y uv \
    && cd "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    && find networkx numba onnx pandas pyarrow scipy sklearn statsmodels -type d \( -name tests -o -name test \) -prune \
        -exec rm -r {} +
COPY --chown=evermodel:evermodel . .
RUN pip install --no-cache-dir --no-build-isolation --no-deps . ./plugins
USER 50000:50000
ARG EVERMODEL_COMMIT=""
ENV EVERMODEL_COMMIT=$EVERMODEL_COMMIT
ENV AIRFLOW_HOME=/opt/airflow
CMD ["airflow", "version"]

# Astro Runtime for Airflow 3.3, in its build for Python 3.12 (the newest that this package supports).
# The -base image installs nothing by itself: its usual triggers would install requirements.txt before the package's
# own files are there.
FROM astrocrpublic.azurecr.io/runtime:3.3-8-python-3.12-base AS astro
USER root
COPY packages.txt requirements.txt ./
RUN /usr/local/bin/install-system-packages
# The pinned set, Airflow included, is the one that the tests run with.
RUN uv pip install --system --no-cache -r requirements.txt

COPY --chown=astro:0 . .
# The dependencies are in place; only the package itself is added, so that operators and triggers can be imported.
RUN uv pip install --system --no-cache --no-deps . ./plugins

USER astro
ENV EVERMODEL_HOME=/usr/local/airflow/include/.evermodel \
    EVERMODEL_MODELS=/usr/local/airflow/include/models

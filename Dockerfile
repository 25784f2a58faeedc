# One file, two images from the same parts.
#   docker compose build   makes `production`: Python's own slim image, for docker-compose.yaml and Kubernetes.
#   astro dev start        makes the last stage: Astro Runtime, for the Astro CLI and Astronomer.

FROM python:3.12-slim-bookworm AS production
# OpenMP for the boosted trees, and git for the commit that every model version names.
# A volume takes its owner from the folder of the image, so the folders of volumes are made here.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 git tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 50000 evermodel \
    && useradd --uid 50000 --gid 50000 --create-home evermodel \
    && mkdir -p /opt/airflow/logs /opt/evermodel/data/home /opt/evermodel/data/tmp \
    && chown -R evermodel:evermodel /opt/evermodel /opt/airflow
WORKDIR /opt/airflow
# Every file that is installed, or builds what has no wheel, has a SHA-256 in the list: `make hashes` writes it from
# requirements-production.txt.
COPY include/deploy/requirements.hashes.txt ./
RUN pip install --no-cache-dir uv==0.13.9 \
    && uv pip install --system --no-cache --compile-bytecode --build-constraints requirements.hashes.txt \
        --require-hashes -r requirements.hashes.txt \
    && pip uninstall -y uv
COPY --chown=evermodel:evermodel . .
RUN pip install --no-cache-dir --no-build-isolation --no-deps . ./plugins
USER evermodel
# The build sees no .git; what the image was built from is said from outside.
ARG EVERMODEL_COMMIT=""
ENV EVERMODEL_COMMIT=$EVERMODEL_COMMIT
ENV AIRFLOW_HOME=/opt/airflow \
    EVERMODEL_HOME=/opt/evermodel/data \
    EVERMODEL_MODELS=/opt/airflow/include/models \
    PYTHONUNBUFFERED=1
# Reaps what tasks leave behind, and hands signals on.
ENTRYPOINT ["tini", "--"]
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

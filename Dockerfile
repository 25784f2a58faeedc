# Astro Runtime for Airflow 3.3, in its build for Python 3.12 (the newest that this package supports).
# The -base image installs nothing by itself: its usual triggers would install requirements.txt before the package's
# own files are there.
FROM astrocrpublic.azurecr.io/runtime:3.3-8-python-3.12-base

USER root
COPY packages.txt requirements.txt ./
RUN /usr/local/bin/install-system-packages
# The pinned set, Airflow included, is the one that the tests run with.
RUN uv pip install --system --no-cache -r requirements.txt

COPY --chown=astro:0 . .
# The dependencies are in place; only the package itself is added, so that operators and triggers can be imported.
RUN uv pip install --system --no-cache --no-deps .

USER astro
ENV EVERMODEL_HOME=/usr/local/airflow/include/.evermodel \
    EVERMODEL_MODELS=/usr/local/airflow/include/models

#!/bin/sh
# Starts SeaweedFS as an S3 store with one user, whose secret comes from the environment.
set -eu
cat > /tmp/s3.json <<JSON
{"identities": [{"name": "evermodel", "credentials": [{"accessKey": "evermodel", "secretKey": "$S3_SECRET_KEY"}], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
# Each bucket takes volumes of its own. With 0 there may be as many as the disk has room for, so they are of 1 GB, not of 30.
exec weed server -dir=/data -volume.max=0 -master.volumeSizeLimitMB=1024 -s3 -s3.port=8333 -s3.config=/tmp/s3.json -ip.bind=0.0.0.0

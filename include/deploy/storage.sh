#!/bin/sh
# Starts SeaweedFS as an S3 store with one user, whose secret comes from the environment.
set -eu
cat > /tmp/s3.json <<JSON
{"identities": [{"name": "evermodel", "credentials": [{"accessKey": "evermodel", "secretKey": "$S3_SECRET_KEY"}], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
exec weed server -dir=/data -s3 -s3.port=8333 -s3.config=/tmp/s3.json -ip.bind=0.0.0.0

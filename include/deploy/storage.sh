#!/bin/sh
# Starts SeaweedFS as an S3 store. Serving and Evidently's UI have users of their own, each for its bucket alone; the secrets come
# from the environment.
set -eu
cat > /tmp/s3.json <<JSON
{"identities": [
  {"name": "evermodel", "credentials": [{"accessKey": "evermodel", "secretKey": "$S3_SECRET_KEY"}], "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
  {"name": "serving", "credentials": [{"accessKey": "serving", "secretKey": "$S3_SERVING_KEY"}], "actions": ["Read:lake", "Write:lake", "List:lake"]},
  {"name": "evidently", "credentials": [{"accessKey": "evidently", "secretKey": "$S3_EVIDENTLY_KEY"}], "actions": ["Read:evidently", "Write:evidently", "List:evidently"]}
]}
JSON
# Each bucket takes volumes of its own. With 0 there may be as many as the disk has room for, so they are of 1 GB, not of 30.
# Only S3 asks who somebody is: the others listen to this container alone.
exec weed server -dir=/data -volume.max=0 -master.volumeSizeLimitMB=1024 -s3 -s3.port=8333 -s3.config=/tmp/s3.json \
    -ip=127.0.0.1 -ip.bind=127.0.0.1 -s3.ip.bind=0.0.0.0

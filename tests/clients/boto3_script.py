"""What a boto3 client sees of a site: one JSON line for each call, for a comparison of two sites.

boto3_script.py BUCKET; the site is named by boto3's own environment variables.
"""

import datetime
import json
import sys
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = sys.argv[1]
# What differs from call to call, or says how busy a site is.
MOVING = {"date", "vary", "x-amz-request-id", "x-amz-id-2", "x-ratelimit-limit", "x-ratelimit-remaining"}

client = boto3.client("s3", config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))


def plain(value):
    """A value as JSON can hold it; ids of uploads have no form of their own, so they are only said to be there."""
    if isinstance(value, dict):
        return {k: "there" if k == "UploadId" else plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, datetime.datetime):
        return "TIME"
    if hasattr(value, "read"):
        return f"{len(value.read())} bytes"
    return value


def facts(metadata):
    headers = {k: v for k, v in metadata["HTTPHeaders"].items() if k not in MOVING}
    if "last-modified" in headers:
        headers["last-modified"] = "TIME"
    return {"status": metadata["HTTPStatusCode"], "headers": dict(sorted(headers.items()))}


def say(name, **said):
    print(json.dumps({"call": name, **said}, ensure_ascii=False), flush=True)


def call(operation, **arguments):
    """Makes one call and prints its answer or refusal."""
    try:
        answer = getattr(client, operation)(**arguments)
        shown = plain({k: v for k, v in answer.items() if k != "ResponseMetadata"})
    except ClientError as refused:
        answer = refused.response
        error = {k: v for k, v in answer["Error"].items() if k not in ("RequestId", "HostId")}
        say(operation, error=error, **facts(answer["ResponseMetadata"]))
        return None
    except BotoCoreError as failed:
        say(operation, failed=type(failed).__name__)
        return None
    say(operation, answer=shown, **facts(answer["ResponseMetadata"]))
    return answer


def here(operation, **arguments):
    return call(operation, Bucket=BUCKET, **arguments)


def buckets():
    here("head_bucket")
    here("list_object_versions")
    here("create_bucket")
    here("create_bucket")
    here("head_bucket")
    here("get_bucket_versioning")
    here("get_bucket_location")
    here("put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"})
    here("get_bucket_versioning")
    for document in ["tagging", "policy", "encryption", "replication"]:
        here(f"get_bucket_{document}")
    here("get_bucket_lifecycle_configuration")
    here("get_object_lock_configuration")
    here("put_bucket_tagging", Tagging={"TagSet": [{"Key": "team", "Value": "dr"}]})
    here("get_bucket_tagging")
    here("delete_bucket_tagging")
    call("create_bucket", Bucket="A_bad_name".lower())


def objects():
    """Gives back the versions of one key, oldest first."""
    key, ids = "a b/ü+%2F?.txt", []
    for n in range(3):
        put = here(
            "put_object",
            Key=key,
            Body=b"x" * (n + 1),
            Metadata={"Customer": str(n), "note": "two words"},
            Tagging="team=a%20b&n=1",
            ContentType="text/plain",
            CacheControl="no-cache",
        )
        ids.append(put["VersionId"])
    for name in ["a", "z/1", "z/2", "z/3/4"]:
        here("put_object", Key=name, Body=b"")
    for version in [None, *ids]:
        named = {"VersionId": version} if version else {}
        here("head_object", Key=key, **named)
        here("get_object", Key=key, **named)
        here("get_object_tagging", Key=key, **named)
    here("get_object", Key=key, Range="bytes=1-1")
    here("get_object", Key=key, Range="bytes=9-")
    here("get_object", Key=key, IfNoneMatch=put["ETag"])
    here("get_object", Key=key, IfMatch='"0"')
    here("put_object", Key=key, Body=b"", IfNoneMatch="*")
    here("put_object_tagging", Key=key, Tagging={"TagSet": [{"Key": "new", "Value": "1"}]})
    here("get_object_tagging", Key=key)
    here("delete_object_tagging", Key=key)
    here("copy_object", Key="copied", CopySource={"Bucket": BUCKET, "Key": key})
    here("head_object", Key="copied")
    return key, ids


def absent(key):
    unknown = "8b0b1dd2-5a0e-4ad6-a4a9-6d5b3b6c2f11"
    for operation in ["get_object", "head_object", "get_object_tagging", "delete_object"]:
        call(operation, Bucket="no-such-bucket", Key=key)
    for operation in ["get_object", "head_object", "get_object_tagging"]:
        here(operation, Key="not there")
        here(operation, Key=key, VersionId=unknown)
        here(operation, Key=key, VersionId="not-a-version")
    here("put_object_retention", Key=key, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": "2030-01-01T00:00:00Z"})
    here("get_object_retention", Key=key)
    here("get_object_legal_hold", Key=key)
    here("delete_object", Key="not there", VersionId=unknown)
    here("delete_object", Key=key, VersionId="not-a-version")
    here("delete_object", Key="not there")


def multipart():
    key = "multi part.bin"
    upload = here("create_multipart_upload", Key=key, Metadata={"made": "in parts"}, ContentType="video/mp4")
    upload = {"Key": key, "UploadId": upload["UploadId"]}
    parts = []
    for number, body in [(1, b"a" * (5 << 20)), (2, b"b")]:
        part = here("upload_part", PartNumber=number, Body=body, **upload)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    here("list_parts", **upload)
    here("list_multipart_uploads", Prefix=key)
    wrong = [{"PartNumber": 1, "ETag": '"0123456789abcdef0123456789abcdef"'}]
    here("complete_multipart_upload", MultipartUpload={"Parts": wrong}, **upload)
    here("complete_multipart_upload", MultipartUpload={"Parts": parts}, **upload)
    here("head_object", Key=key)
    here("get_object", Key=key, Range="bytes=5242878-5242890")
    here("head_object", Key=key, PartNumber=2)
    here("get_object", Key=key, PartNumber=1)
    here("abort_multipart_upload", **upload)
    aborted = here("create_multipart_upload", Key=key)["UploadId"]
    here("abort_multipart_upload", Key=key, UploadId=aborted)
    here("list_parts", Key=key, UploadId=aborted)


def deletes(key, ids):
    marker = here("delete_object", Key=key)["VersionId"]
    here("delete_object", Key=key)
    here("head_object", Key=key)
    here("get_object", Key=key)
    here("head_object", Key=key, VersionId=marker)
    here("get_object", Key=key, VersionId=marker)
    here("get_object_tagging", Key=key, VersionId=marker)
    here("delete_object", Key=key, VersionId=ids[1])
    here("get_object", Key=key, VersionId=ids[1])
    here("delete_object", Key=key, VersionId=marker)
    here("head_object", Key=key)
    many = [{"Key": "z/1"}, {"Key": key, "VersionId": ids[0]}, {"Key": "never there"}]
    here("delete_objects", Delete={"Objects": many})
    here("delete_objects", Delete={"Objects": [{"Key": "z/2"}], "Quiet": True})


def listings():
    here("list_object_versions")
    for arguments in [{"Delimiter": "/"}, {"Prefix": "z/"}, {"Prefix": "a b/", "Delimiter": "/"}, {"Prefix": "none"}]:
        here("list_object_versions", **arguments)
        here("list_objects_v2", **arguments)
        here("list_objects", **arguments)
    here("list_objects_v2", StartAfter="copied", FetchOwner=True)
    for operation in ["list_object_versions", "list_objects_v2", "list_objects"]:
        pages = client.get_paginator(operation).paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 2})
        for page in pages:
            names = ["Versions", "DeleteMarkers", "Contents", "CommonPrefixes"]
            found = {name: [entry.get("Key") for entry in page.get(name, [])] for name in names}
            markers = {k: v for k, v in page.items() if "Marker" in k and k != "DeleteMarkers"}
            say(f"a page of {operation}", more=page["IsTruncated"], found=found, markers=markers)


def presigned():
    for method, key in [("get_object", "copied"), ("get_object", "not there"), ("put_object", "by a link")]:
        url = client.generate_presigned_url(method, Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=600)
        put = method == "put_object"
        for what, url in [("as it is", url), ("tampered with", url.replace("Signature=", "Signature=0"))]:
            request = urllib.request.Request(url, data=b"linked" if put else None, method="PUT" if put else "GET")
            try:
                with urllib.request.urlopen(request) as answer:
                    say("presigned", method=method, key=key, url=what, status=answer.status, bytes=len(answer.read()))
            except urllib.error.HTTPError as refused:
                code = refused.read().decode().partition("<Code>")[2].partition("</Code>")[0]
                say("presigned", method=method, key=key, url=what, status=refused.code, code=code)


def locked():
    """A bucket with object lock, and one encrypted by default."""
    name = f"{BUCKET}-locked"
    call("create_bucket", Bucket=name, ObjectLockEnabledForBucket=True)
    call("get_bucket_versioning", Bucket=name)
    call("get_object_lock_configuration", Bucket=name)
    call("put_bucket_versioning", Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    until = datetime.datetime(2090, 1, 1, tzinfo=datetime.timezone.utc)
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until, "ObjectLockLegalHoldStatus": "ON"}
    held = call("put_object", Bucket=name, Key="held", Body=b"held", ContentMD5="UWtrOe0W+7HyXqVIxQymyw==", **lock)
    if held is None:
        held = call("put_object", Bucket=name, Key="held", Body=b"held", ChecksumAlgorithm="CRC32", **lock)
    version = {"Bucket": name, "Key": "held", "VersionId": held["VersionId"]}
    call("head_object", **version)
    call("get_object_retention", **version)
    call("get_object_legal_hold", **version)
    call("delete_object", **version)
    call("put_object_legal_hold", LegalHold={"Status": "OFF"}, **version)
    call("delete_object", **version)
    call("delete_object", BypassGovernanceRetention=True, **version)
    call("delete_bucket", Bucket=name)


def unversioned():
    name = f"{BUCKET}-plain"
    call("create_bucket", Bucket=name)
    call("put_object", Bucket=name, Key="a", Body=b"first")
    call("put_object", Bucket=name, Key="a", Body=b"second")
    call("list_object_versions", Bucket=name)
    call("put_bucket_versioning", Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    call("put_object", Bucket=name, Key="a", Body=b"third")
    call("head_object", Bucket=name, Key="a", VersionId="null")
    call("list_object_versions", Bucket=name)
    call("put_bucket_versioning", Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    call("put_object", Bucket=name, Key="a", Body=b"fourth")
    call("delete_object", Bucket=name, Key="a")
    call("list_object_versions", Bucket=name)
    call("delete_object", Bucket=name, Key="a", VersionId="null")
    call("delete_bucket", Bucket=name)


buckets()
key, ids = objects()
absent(key)
multipart()
deletes(key, ids)
listings()
presigned()
locked()
unversioned()

"""What boto3 sees of the API: one JSON object for each step, on standard output; a line on standard input once the
person has allowed the device."""

import json
import sys

import boto3
from botocore.exceptions import ClientError

endpoint, access_key, secret_key, application = sys.argv[1:]
client = boto3.client("sso-oidc", region_name="eu-central-1", endpoint_url=endpoint)
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


def tell(**fields):
    print(json.dumps(fields), flush=True)


def refusal(call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        named = getattr(client.exceptions, error.response["Error"]["Code"])
        return {
            "code": error.response["Error"]["Code"],
            "isNamed": isinstance(error, named),
            "status": error.response["ResponseMetadata"]["HTTPStatusCode"],
            "error": error.response.get("error"),
            "description": error.response.get("error_description"),
            "reason": error.response.get("reason"),
        }
    return None


registered = client.register_client(clientName="boto3", clientType="public", scopes=["openid", "sso:account:access"])
ours = {name: registered[name] for name in ("clientId", "clientSecret")}
tell(lifetime=registered["clientSecretExpiresAt"] - registered["clientIdIssuedAt"])
device = client.start_device_authorization(startUrl="https://acme.awsapps.com/start", **ours)
poll = dict(ours, grantType=DEVICE, deviceCode=device["deviceCode"])
tell(
    pending=refusal(client.create_token, **poll),
    wrong=refusal(client.create_token, **dict(poll, clientSecret="x")),
    scope=refusal(client.register_client, clientName="x", clientType="public", scopes=["root"]),
    url=device["verificationUriComplete"],
)
sys.stdin.readline()
tokens = client.create_token(**poll)
again = client.create_token(grantType="refresh_token", refreshToken=tokens["refreshToken"], **ours)
tell(
    first=tokens["accessToken"],
    second=again["accessToken"],
    idToken=again.get("idToken"),
    tokenType=again["tokenType"],
    expiresIn=again["expiresIn"],
    replay=refusal(client.create_token, grantType="refresh_token", refreshToken=tokens["refreshToken"], **ours),
)
signing = boto3.client(
    "sso-oidc",
    region_name="eu-central-1",
    endpoint_url=endpoint,
    aws_access_key_id=access_key,
    aws_secret_access_key=secret_key,
)
grant = {"clientId": application, "grantType": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "x.y.z"}
forger = boto3.client(
    "sso-oidc",
    region_name="eu-central-1",
    endpoint_url=endpoint,
    aws_access_key_id=access_key,
    aws_secret_access_key=secret_key + "x",
)
tell(
    assertion=refusal(signing.create_token_with_iam, **grant),
    forged=refusal(forger.create_token_with_iam, **grant),
)

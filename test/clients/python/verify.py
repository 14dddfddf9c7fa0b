"""Verifies tokens with PyJWT as a relying party does: one JSON object {issuer,
audience, token} a line comes in, one {subject} or {refusal} goes out."""
import json
import sys
import urllib.request

import jwt


def verify(issuer, audience, token):
    with urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration") as answer:
        metadata = json.load(answer)
    assert metadata["issuer"] == issuer
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
    algorithms = metadata["id_token_signing_alg_values_supported"]
    required = {"require": ["exp", "iat", "nbf", "sub", "jti"]}
    claims = jwt.decode(token, key, algorithms, audience=audience, issuer=issuer, options=required)
    return claims["sub"]


for line in sys.stdin:
    asked = json.loads(line)
    try:
        print(json.dumps({"subject": verify(**asked)}))
    except jwt.PyJWTError as error:
        print(json.dumps({"refusal": f"{type(error).__name__}: {error}"}))

"""Authlib as a client of the issuer that the one argument describes: every flow, then one JSON object
of what came out. The person's browser is requests with a cookie jar and forms that are filled in."""
import html.parser
import json
import sys
import time
from urllib.parse import urljoin

import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.jwk import KeySet

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
asked = json.loads(sys.argv[1])
metadata = requests.get(f"{asked['issuer']}/.well-known/openid-configuration", timeout=10).json()
keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"], timeout=10).json())


class Forms(html.parser.HTMLParser):
    """The forms of a page: where each goes, and its hidden fields."""

    def __init__(self, text):
        super().__init__()
        self.forms = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "form":
            self.forms.append((given["action"], {}))
        elif tag == "input" and given.get("type") == "hidden":
            self.forms[-1][1][given["name"]] = given.get("value", "")


class Browser:
    """Goes where it is sent, but not to the application, where nobody listens."""

    def __init__(self):
        self.session = requests.Session()

    def open(self, url, form=None):
        headers = {} if form is None else {"Origin": asked["issuer"], "Sec-Fetch-Site": "same-origin"}
        answer = self.session.request(
            "GET" if form is None else "POST", url, data=form, headers=headers, allow_redirects=False, timeout=10
        )
        location = answer.headers.get("Location")
        if location is None:
            assert answer.status_code == 200, (answer.status_code, answer.text)
            return answer
        target = urljoin(url, location)
        return target if target.startswith(asked["redirect_uri"]) else self.open(target)

    def submit(self, page, ending, fields):
        action, hidden = next(form for form in Forms(page.text).forms if form[0].endswith(ending))
        return self.open(urljoin(page.url, action), {**hidden, **fields})

    def sign_in(self, page):
        page = self.submit(page, "/login", {"username": asked["username"], "password": asked["password"]})
        return self.submit(page, "/consent", {"decision": "allow"})


def claims_of(token, audience):
    claims = jwt.decode(token, keys, algorithms=["RS256", "ES256"]).claims
    assert claims["iss"] == asked["issuer"], claims
    assert audience in [claims["aud"]] or audience in claims["aud"], claims
    return claims


def code():
    web = asked["web"]
    session = OAuth2Session(
        web["id"], web["secret"], scope=web["scope"], redirect_uri=asked["redirect_uri"], code_challenge_method="S256"
    )
    verifier, nonce = generate_token(48), generate_token(20)
    url, state = session.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce
    )
    browser = Browser()
    back = browser.sign_in(browser.open(url))
    token = session.fetch_token(
        metadata["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier
    )
    # Authlib's own rules for an ID token (OpenID Connect Core 1.0 section 3.1.3.7).
    identity = CodeIDToken(
        claims_of(token["id_token"], web["id"]),
        {"alg": "RS256"},
        {"iss": {"values": [asked["issuer"]]}, "aud": {"values": [web["id"]]}},
        {"client_id": web["id"], "nonce": nonce, "access_token": token["access_token"]},
    )
    identity.validate(leeway=5)
    person = session.get(metadata["userinfo_endpoint"], timeout=10).json()
    assert person["sub"] == identity["sub"], person
    first = token["refresh_token"]
    second = session.refresh_token(metadata["token_endpoint"], refresh_token=first)
    assert second["refresh_token"] != first
    seen = session.introspect_token(metadata["introspection_endpoint"], token=second["access_token"]).json()
    session.revoke_token(metadata["revocation_endpoint"], token=second["refresh_token"])
    gone = session.introspect_token(metadata["introspection_endpoint"], token=second["access_token"]).json()
    return {
        "name": person["name"],
        "claims": claims_of(second["access_token"], asked["api"]),
        "active": [seen["active"], gone["active"]],
    }


def device():
    tv = asked["tv"]
    form = {"client_id": tv["id"], "scope": tv["scope"]}
    answer = requests.post(metadata["device_authorization_endpoint"], data=form, timeout=10).json()
    session = OAuth2Session(tv["id"], token_endpoint_auth_method="none")

    def poll():
        return session.fetch_token(metadata["token_endpoint"], grant_type=DEVICE, device_code=answer["device_code"])

    try:
        poll()
        error = None
    except Exception as refusal:  # Authlib's OAuthError has the code in `error`
        error = refusal.error
    browser = Browser()
    page = browser.open(answer["verification_uri"])
    page = browser.submit(page, "/device", {"user_code": answer["user_code"]})
    page = browser.submit(page, "/device", {"confirm": "yes"})
    browser.sign_in(page)
    time.sleep(answer["interval"])
    return {"before": error, "claims": claims_of(poll()["access_token"], asked["api"])}


def machine():
    given = asked["machine"]
    got = {}
    for method in ("client_secret_basic", "client_secret_post"):
        session = OAuth2Session(given["id"], given["secret"], token_endpoint_auth_method=method)
        token = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
        got[method] = claims_of(token["access_token"], asked["api"])["sub"]
    signer = asked["signer"]
    # An hour where nothing is said, which is too long.
    method = PrivateKeyJWT(metadata["token_endpoint"], claims={"exp": int(time.time()) + 60})
    session = OAuth2Session(signer["id"], signer["key"], token_endpoint_auth_method=method)
    token = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    got["private_key_jwt"] = claims_of(token["access_token"], asked["api"])["sub"]
    return got


print(json.dumps({"code": code(), "device": device(), "machine": machine()}))

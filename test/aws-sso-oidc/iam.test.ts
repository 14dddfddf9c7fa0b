/** CreateTokenWithIAM: signed by the AWS SDK, and by whoever should not. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { before, suite, test } from 'node:test';
import { CreateTokenWithIAMCommand, type SSOOIDCClient } from '@aws-sdk/client-sso-oidc';
import { decodeJwt, exportJWK, SignJWT } from 'jose';
import { openBrowser } from '../oauth/browser.ts';
import { API } from '../oauth/server.ts';
import { createPlace, type Server, start } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import {
  ACCESS_KEY,
  APPLICATION,
  addAda,
  cliUrl,
  configure,
  iamSettings,
  PASSWORD,
  register,
  sdk,
} from './server.ts';

const FORGE = 'https://forge.example.com';
const URN = 'urn:ietf:params:oauth:';
const CALLBACK = 'https://app.example.com/callback';

/** A request as it went out, to be sent once more or changed. */
type Sent = { readonly path: string; readonly headers: Record<string, string>; readonly body: string };

suite('CreateTokenWithIAM', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Server;
  let key: KeyObject;
  let client: SSOOIDCClient;
  before(async () => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    key = pair.privateKey;
    const jwks = { keys: [{ ...(await exportJWK(pair.publicKey)), kid: 'f', alg: 'ES256' }] };
    const place = await createPlace(scope);
    configure(place, {
      door: { iam: iamSettings(place, {}, { consent: false }) },
      more: {
        attestors: { unix: {}, jwt: { issuers: { forge: { issuer: FORGE, jwks } } } },
        rules: [
          {
            name: 'people of the forge, by the application',
            match: ['jwt:issuer:forge', `oauth:client:${APPLICATION}`],
            subject: 'forge:{jwt.subject}',
            audiences: [API],
          },
        ],
      },
    });
    server = await start(scope, place);
    await addAda(place);
    client = sdk(server.issuer, { credentials: ACCESS_KEY });
  });

  const assertion = (more: object = {}) =>
    new SignJWT({ n: Math.random(), ...more })
      .setProtectedHeader({ alg: 'ES256', kid: 'f' })
      .setIssuer(FORGE)
      .setSubject('ada')
      .setAudience(server.issuer)
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(key);
  const bearer = async (more: object = {}) => ({
    clientId: APPLICATION,
    grantType: `${URN}grant-type:jwt-bearer`,
    assertion: await assertion(),
    ...more,
  });

  test('jwt-bearer', async () => {
    const answer = await client.send(new CreateTokenWithIAMCommand(await bearer()));
    assert.equal(answer.tokenType, 'Bearer');
    assert.equal(answer.issuedTokenType, `${URN}token-type:access_token`);
    assert.deepEqual(answer.scope, ['orders.read', 'orders.write']);
    assert.equal(answer.awsAdditionalDetails?.identityContext, answer.accessToken);
    const claims = decodeJwt(String(answer.accessToken));
    assert.equal(claims.sub, 'forge:ada');
    assert.equal(claims.aud, API);
    assert.equal(claims.client_id, APPLICATION);
    assert.equal(claims.scope, 'orders.read orders.write');
  });

  test('whoever may not sign is told of, up to a bound; a registration too', async () => {
    const begun = server.lines().length;
    const wrong = sdk(server.issuer, { credentials: { ...ACCESS_KEY, secretAccessKey: 'x'.repeat(20) } });
    const nobody = sdk(server.issuer, {
      credentials: { ...ACCESS_KEY, accessKeyId: 'AKIANOBODY0000000000' },
    });
    const input = await bearer();
    await assert.rejects(nobody.send(new CreateTokenWithIAMCommand(input)));
    for (let tried = 0; tried < 25; tried++)
      await assert.rejects(wrong.send(new CreateTokenWithIAMCommand(input)));
    const { clientId } = await register(client);
    const lines = server
      .lines()
      .slice(begun)
      .filter(({ door }) => door === 'aws-sso-oidc');
    const [first, second] = lines.map(({ detail }) => detail);
    assert.equal(first, 'CreateTokenWithIAM: an access key that is none of ours: SignatureDoesNotMatch');
    assert.equal(second, `CreateTokenWithIAM: access key ${ACCESS_KEY.accessKeyId}: SignatureDoesNotMatch`);
    assert.equal(lines.filter(({ msg }) => msg === 'refused').length, 20);
    const last = lines.at(-1);
    assert.deepEqual([last?.msg, last?.client], ['a client was registered', clientId]);
  });

  test('an assertion is good once, and its issuer must be trusted', async () => {
    const input = await bearer();
    await client.send(new CreateTokenWithIAMCommand(input));
    await assert.rejects(client.send(new CreateTokenWithIAMCommand(input)), {
      name: 'InvalidGrantException',
    });
    const forged = await bearer({ assertion: `${(await assertion()).slice(0, -6)}AAAAAA` });
    await assert.rejects(client.send(new CreateTokenWithIAMCommand(forged)), {
      name: 'InvalidGrantException',
    });
  });

  test('token exchange, with narrower scopes', async () => {
    const answer = await client.send(
      new CreateTokenWithIAMCommand({
        clientId: APPLICATION,
        grantType: `${URN}grant-type:token-exchange`,
        subjectToken: await assertion(),
        subjectTokenType: `${URN}token-type:jwt`,
        requestedTokenType: `${URN}token-type:access_token`,
        scope: ['orders.read'],
      }),
    );
    assert.deepEqual(answer.scope, ['orders.read']);
    assert.equal(answer.issuedTokenType, `${URN}token-type:access_token`);
    assert.equal(decodeJwt(String(answer.accessToken)).scope, 'orders.read');
  });

  test('a person signs in to the application, which then refreshes', async () => {
    const { url, codeVerifier } = cliUrl(server.issuer, APPLICATION, {
      redirect_uri: CALLBACK,
      scopes: 'openid orders.read offline_access',
    });
    const browser = openBrowser(CALLBACK);
    const page = await browser.submit(await browser.open(url), /\/login$/, {
      username: 'ada',
      password: PASSWORD,
    });
    const code = new URL(page.url).searchParams.get('code') ?? assert.fail(page.url);
    const first = await client.send(
      new CreateTokenWithIAMCommand({
        clientId: APPLICATION,
        grantType: 'authorization_code',
        code,
        codeVerifier,
        redirectUri: CALLBACK,
      }),
    );
    assert.ok(first.idToken);
    assert.deepEqual(first.scope, ['openid', 'orders.read', 'offline_access']);
    const { refreshToken } = first;
    const second = await client.send(
      new CreateTokenWithIAMCommand({ clientId: APPLICATION, grantType: 'refresh_token', refreshToken }),
    );
    assert.ok(second.refreshToken);
    assert.equal(decodeJwt(String(second.accessToken)).sub, decodeJwt(String(first.accessToken)).sub);
  });

  test('the application cannot be used without a signature', async () => {
    const form = { grant_type: 'client_credentials', client_id: APPLICATION };
    const response = await fetch(`${server.issuer}/connect/token`, {
      method: 'POST',
      body: new URLSearchParams(form),
    });
    assert.equal(response.status, 401);
    const body = JSON.stringify({ ...(await bearer()), clientSecret: 'x' });
    const plain = await fetch(`${server.issuer}/token`, { method: 'POST', body });
    assert.equal(plain.headers.get('x-amzn-errortype'), 'UnsupportedGrantTypeException');
  });

  /** What the SDK would send. */
  async function capture(by: SSOOIDCClient, input: object): Promise<Sent> {
    let sent: Sent | undefined;
    by.middlewareStack.add(
      () => async (args) => {
        const { path, headers, body } = args.request as Sent;
        sent = { path: `${path}?aws_iam=t`, headers, body: Buffer.from(body).toString() };
        throw new Error('captured');
      },
      { step: 'finalizeRequest', priority: 'low', name: 'capture', override: true },
    );
    await by.send(new CreateTokenWithIAMCommand(input as never)).catch(() => undefined);
    return sent ?? assert.fail('nothing was sent');
  }
  const send = (
    { path, headers, body }: Sent,
    more: Record<string, string | undefined> = {},
  ): Promise<string> =>
    new Promise((resolve, reject) => {
      const kept = Object.entries({ ...headers, ...more }).filter(([, value]) => value !== undefined);
      const options = {
        host: '127.0.0.1',
        port: server.port,
        path,
        method: 'POST',
        headers: Object.fromEntries(kept),
      };
      request(options, async (response) => {
        const answer = JSON.parse(await text(response));
        resolve(answer.reason ?? answer.error ?? 'ok');
      })
        .on('error', reject)
        .end(body);
    });
  const asked = async (more: object = {}) =>
    capture(sdk(server.issuer, { credentials: ACCESS_KEY, ...more }), await bearer());

  test('a signature is good for one call, one body, one host, and five minutes', async () => {
    const sent = await asked();
    assert.equal(
      await send({ ...sent, body: sent.body.replace('jwt-bearer', 'jwt_bearer') }),
      'SignatureDoesNotMatch',
    );
    assert.equal(await send(sent, { host: 'evil.example' }), 'SignatureDoesNotMatch');
    assert.equal(await send(sent, { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' }), 'SignatureDoesNotMatch');
    assert.equal(await send({ ...sent, path: '/token?aws_iam=t&x=1' }), 'SignatureDoesNotMatch');
    assert.equal(await send(sent, { authorization: undefined }), 'MissingAuthenticationToken');
    assert.equal(await send(sent, { 'x-amz-date': undefined }), 'RequestExpired');
    assert.equal(
      await send(sent, { authorization: sent.headers.authorization?.replace('host;', '') }),
      'IncompleteSignature',
    );
    assert.equal(await send(sent), 'ok');
    assert.equal(await send(sent), 'RequestReplayed');
    for (const minutes of [-6, 6])
      assert.equal(await send(await asked({ systemClockOffset: minutes * 60_000 })), 'RequestExpired');
    for (const minutes of [-4, 4])
      assert.equal(await send(await asked({ systemClockOffset: minutes * 60_000 })), 'ok');
  });

  test('who signs: an unknown key, a temporary one, another service', async () => {
    const unknown = { ...ACCESS_KEY, accessKeyId: 'AKIAIOSFODNN7UNKNOWN' };
    assert.equal(await send(await asked({ credentials: unknown })), 'SignatureDoesNotMatch');
    const temporary = { ...ACCESS_KEY, sessionToken: 'x' };
    assert.equal(await send(await asked({ credentials: temporary })), 'UnrecognizedClient');
    const sent = await asked();
    const other = sent.headers.authorization?.replace('/sso-oauth/', '/sts/');
    assert.equal(await send(sent, { authorization: other }), 'SignatureDoesNotMatch');
  });
});

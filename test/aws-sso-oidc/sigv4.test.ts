/** The verifier of Signature Version 4 against the AWS SDK's signer and AWS's published example. */
import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { test } from 'node:test';
import { SignatureV4 } from '@smithy/signature-v4';
import fc from 'fast-check';
import {
  isSignedBy,
  parseAuthorization,
  parseDate,
  type SignedRequest,
  signatureOf,
} from '../../src/doors/aws-sso-oidc/sigv4.ts';

class Sha256 {
  readonly #hash;
  constructor(secret?: string | Uint8Array) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', secret);
  }
  update(data: string | Uint8Array) {
    this.#hash.update(data);
  }
  async digest() {
    return new Uint8Array(this.#hash.digest());
  }
  reset() {}
}

const credentials = {
  accessKeyId: 'AKIDEXAMPLEEXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
};
const signer = new SignatureV4({
  credentials,
  region: 'us-east-1',
  service: 'sso-oauth',
  sha256: Sha256 as never,
});

type Asked = {
  readonly path: string;
  readonly query: Readonly<Record<string, string | string[]>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
};

async function signed({ path, query, headers, body }: Asked): Promise<SignedRequest> {
  const request = { method: 'POST', protocol: 'https:', hostname: 'id.example.com', path, query, body };
  const { headers: sent } = await signer.sign({
    ...request,
    headers: { host: 'id.example.com', ...headers },
  });
  const search = new URLSearchParams();
  for (const [name, values] of Object.entries(query))
    for (const value of typeof values === 'string' ? [values] : values) search.append(name, value);
  // As a server has it: names in any case, the query in any order and as a form writes it or not.
  const text = search.toString().replaceAll('+', '%20');
  const rawHeaders = Object.entries(sent).flatMap(([name, value]) => [name.toUpperCase(), ` ${value} `]);
  return { method: 'POST', url: text === '' ? path : `${path}?${text}`, rawHeaders, body: Buffer.from(body) };
}

const isRight = (request: SignedRequest, secret = credentials.secretAccessKey) => {
  const header = request.rawHeaders[request.rawHeaders.indexOf('AUTHORIZATION') + 1]?.trim();
  const given = parseAuthorization(header);
  assert.ok(given, header ?? 'no header');
  return isSignedBy(secret, request, given);
};

const visible = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 12 });
const asked = fc.record<Asked>({
  path: fc.constantFrom('/token', '/sso/oidc/token', '/a.b~c_d-e/token'),
  query: fc.dictionary(
    visible.filter((name) => name !== '__proto__'),
    fc.oneof(visible, fc.array(visible, { minLength: 1, maxLength: 3 })),
    {
      maxKeys: 4,
    },
  ),
  headers: fc.dictionary(
    fc.stringMatching(/^x-[a-z]{1,8}$/),
    fc.stringMatching(/^[!-~]{1,8}( {1,3}[!-~]{1,8})?$/),
    { maxKeys: 3 },
  ),
  body: fc.string({ unit: 'grapheme', maxLength: 60 }),
});

test('what the SDK signs is right, and nothing else is', async () => {
  await fc.assert(
    fc.asyncProperty(asked, async (given) => {
      const request = await signed(given);
      assert.ok(isRight(request), JSON.stringify(request));
      const { url, body, rawHeaders } = request;
      assert.ok(!isRight({ ...request, body: Buffer.from(`${body}x`) }));
      assert.ok(!isRight({ ...request, method: 'GET' }));
      assert.ok(!isRight({ ...request, url: `${url}${url.includes('?') ? '&' : '?'}more=1` }));
      assert.ok(!isRight({ ...request, url: url.replace('/token', '/toker') }));
      assert.ok(!isRight(request, `${credentials.secretAccessKey}x`));
      const host = rawHeaders.map((text) => (text.trim() === 'id.example.com' ? 'evil.example' : text));
      assert.ok(!isRight({ ...request, rawHeaders: host }));
      assert.ok(!isRight({ ...request, rawHeaders: [...rawHeaders, 'HOST', 'evil.example'] }));
    }),
  );
});

test("AWS's example get-vanilla of its Signature Version 4 test suite", () => {
  const request = {
    method: 'GET',
    url: '/',
    rawHeaders: ['Host', 'example.amazonaws.com', 'X-Amz-Date', '20150830T123600Z'],
    body: Buffer.alloc(0),
  };
  const scope = {
    date: '20150830',
    region: 'us-east-1',
    service: 'service',
    signedHeaders: ['host', 'x-amz-date'],
  };
  assert.equal(
    signatureOf(credentials.secretAccessKey, request, scope).toString('hex'),
    '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31',
  );
});

test('headers that are no signature of this kind', () => {
  const right = `AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/sso-oauth/aws4_request, SignedHeaders=host;x-amz-date, Signature=${'0'.repeat(64)}`;
  assert.deepEqual(parseAuthorization(right)?.signedHeaders, ['host', 'x-amz-date']);
  for (const wrong of [
    undefined,
    '',
    'Bearer x',
    right.replace('HMAC', 'ECDSA-P256'),
    right.replace('20260101', '2026'),
    right.replace('aws4_request', 'aws4'),
    right.slice(0, -1),
    `${right}0`,
    right.replace('SignedHeaders=host;x-amz-date, ', ''),
  ])
    assert.equal(parseAuthorization(wrong), undefined, wrong ?? 'none');
  assert.equal(parseDate('20260101T000000Z'), Date.UTC(2026, 0, 1) / 1000);
  for (const wrong of [undefined, '', '2026-01-01T00:00:00Z', '20260101T000000', '20260101T000000Z '])
    assert.equal(parseDate(wrong), undefined);
});

/** What a registering client is refused (RFC 7591 section 3.2.2). */
import { generateKeyPairSync } from 'node:crypto';

export const APP = 'https://app.example.com/';
export const WEB = { redirect_uris: [`${APP}cb`], client_name: 'An app' };
export const MACHINE = { grant_types: ['client_credentials'], scope: 'orders.read' };
const REDIRECT = 'invalid_redirect_uri';

export type Wrong = { readonly name: string; readonly metadata: unknown; readonly error?: string };

export const WRONG: readonly Wrong[] = [
  ...[
    'http://app.example.com/cb',
    'https://app.example.com/cb#fragment',
    'https://user@app.example.com/cb',
    'https://*.example.com/cb',
    'javascript:alert(1)',
    'data:text/html,x',
    'com.example.app:/cb',
    'http://127.0.0.1/cb',
    '/cb',
    `${APP}\ncb`,
    `${APP}c\tb`,
    7,
  ].map((uri) => ({
    name: `${uri} for a web client`,
    metadata: { redirect_uris: [uri], application_type: 'web' },
    error: REDIRECT,
  })),
  ...['http://192.168.0.1/cb', 'myapp:/cb', 'javascript:alert(1)', 'http://localhost.example.com/cb'].map(
    (uri) => ({
      name: `${uri} for a native client`,
      metadata: { redirect_uris: [uri] },
      error: REDIRECT,
    }),
  ),
  { name: 'redirect_uris that are no list', metadata: { redirect_uris: `${APP}cb` }, error: REDIRECT },
  {
    name: 'too many redirect_uris',
    metadata: { redirect_uris: Array.from({ length: 21 }, (_, n) => `${APP}${n}`) },
    error: REDIRECT,
  },
  { name: 'no redirect_uris', metadata: {}, error: REDIRECT },
  {
    name: 'a page to sign out to of another kind',
    metadata: { ...WEB, post_logout_redirect_uris: ['http://a.b/'] },
  },
  { name: 'the password grant', metadata: { ...WEB, grant_types: ['password'] } },
  { name: 'an unknown grant', metadata: { ...WEB, grant_types: ['nonsense'] } },
  { name: 'grants that are no list', metadata: { ...WEB, grant_types: 'client_credentials' } },
  { name: 'implicit', metadata: { ...WEB, grant_types: ['implicit'], response_types: ['token'] } },
  { name: 'grants and responses that differ', metadata: { ...MACHINE, response_types: ['code'] } },
  { name: 'a scope of others', metadata: { ...WEB, scope: 'openid billing.read' } },
  { name: 'a scope that is no text', metadata: { ...WEB, scope: ['openid'] } },
  {
    name: 'another client by its certificate',
    metadata: {
      ...MACHINE,
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_auth_san_uri: 'mintmark:client:own',
    },
  },
  { name: 'a secret as a key', metadata: { ...MACHINE, token_endpoint_auth_method: 'client_secret_jwt' } },
  { name: 'a machine without a secret', metadata: { ...MACHINE, token_endpoint_auth_method: 'none' } },
  { name: 'a key and no key', metadata: { ...MACHINE, token_endpoint_auth_method: 'private_key_jwt' } },
  {
    name: 'a secret key for all to see',
    metadata: {
      ...MACHINE,
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: {
        keys: [generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })],
      },
    },
  },
  { name: 'keys over http', metadata: { ...WEB, jwks_uri: 'http://app.example.com/jwks' } },
  { name: 'a page of script', metadata: { ...WEB, policy_uri: 'javascript:alert(1)' } },
  { name: 'a name of two lines', metadata: { ...WEB, client_name: 'An app\nof ours' } },
  { name: 'a name without an end', metadata: { ...WEB, client_name: 'a'.repeat(101) } },
  { name: 'ID tokens that are not signed', metadata: { ...WEB, dpop_bound_access_tokens: 'yes' } },
  { name: 'a list', metadata: [WEB], error: 'invalid_request' },
];

/** The API in OpenAPI 3.1's words. */
import { jsonBody } from '../openapi.ts';
import { CURSOR } from './paging.ts';

type Part = Readonly<Record<string, unknown>>;

export const SECURITY_SCHEMES: Part = {
  apiKey: { type: 'http', scheme: 'bearer', description: 'An API key, from `mintmark api-keys add`' },
};

const text = { type: 'string' };
/** Generated clients leave what they do not use null or empty: it is absent. */
const optional = (maxLength: number) => ({ type: ['string', 'null'], maxLength });
const SECURITY = [{ apiKey: [] }];
const ID = { name: 'id', in: 'path', required: true, schema: { type: 'string', format: 'uuid' } };
const PAGING = [
  { name: 'per_page', in: 'query', schema: { type: 'integer', minimum: 1, maximum: 500 } },
  {
    ...{ name: 'cursor', in: 'query', description: 'Of `links` of another page; empty: the first' },
    schema: { type: 'string', pattern: `^$|${CURSOR.source}` },
  },
];

function answer(description: string, properties: Part): Part {
  const schema = { type: 'object', required: Object.keys(properties), properties };
  return { description, content: { 'application/json': { schema } } };
}

const refused = (description: string): Part =>
  answer(description, { error: text, status: { type: 'integer' } });

const AWAY = { 503: refused('Keys or records cannot be had at the moment') };
const MANAGED = {
  ...AWAY,
  401: refused('No API key of ours is shown'),
  403: refused('The API key has not the scope, or is for other providers'),
  429: refused('Too many wrong API keys'),
};
const FOUND = { 404: refused('There is no such thing') };
const BODY = { 400: refused('The request is malformed'), 413: refused('The body is over 64 KiB') };

const PROVIDER = {
  type: 'object',
  required: ['id', 'issuer_id', 'name'],
  properties: { id: text, issuer_id: text, name: text },
};
const ISSUER_FIELDS = [
  'id',
  'source',
  'source_id',
  'uri',
  'kid',
  'kty',
  'n',
  'e',
  'alg',
  'use',
  'jwks_fetched_at',
];
const ISSUER = {
  type: 'object',
  required: [...ISSUER_FIELDS, 'jwks_expires_at'],
  properties: {
    ...Object.fromEntries([...ISSUER_FIELDS, 'jwks_expires_at'].map((name) => [name, text])),
    source_id: { type: ['string', 'null'], description: 'The one provider that takes its tokens' },
  },
};
const META = {
  type: 'object',
  required: ['total', 'links'],
  properties: {
    total: { type: 'integer' },
    links: { type: 'object', properties: { next: text, prev: text } },
  },
};

/** The fields bare, or within an object of this name. */
function eitherWay(name: string, fields: Part, required: readonly string[]): Part {
  const bare = jsonBody(fields, required).content['application/json'].schema;
  const within = jsonBody({ [name]: bare }, [name]).content['application/json'].schema;
  return { required: true, content: { 'application/json': { schema: { anyOf: [bare, within] } } } };
}

const managed = (summary: string, responses: Part, more: Part = {}): Part => ({
  ...{ summary, security: SECURITY, ...more },
  responses: { ...MANAGED, ...responses },
});

const NEW_PROVIDER = {
  name: { type: 'string', maxLength: 255, pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]+$' },
  issuer_id: optional(255),
  private_key_b64: { ...optional(16384), description: 'RSA, as PEM or DER in base64' },
};
const NEW_ISSUER = {
  source: { type: ['string', 'null'], enum: ['external', 'managed', '', null] },
  source_id: {
    ...optional(2048),
    description: 'The one provider that takes its tokens; empty at a change: none alone',
  },
  ...Object.fromEntries(['uri', 'kid', 'kty', 'alg', 'use', 'n', 'e'].map((name) => [name, optional(2048)])),
};

export const LIST_PROVIDERS = managed(
  'The providers',
  {
    200: answer('A page of them', { providers: { type: 'array', items: PROVIDER }, meta: META }),
    400: BODY[400],
  },
  { parameters: PAGING },
);
export const CREATE_PROVIDER = managed(
  'Make a provider, and an issuer with a key of its own',
  {
    201: answer('The provider', { provider: PROVIDER }),
    ...BODY,
    404: refused('There is no such issuer'),
    409: refused('The issuer, or the key, is that of another provider'),
  },
  { requestBody: eitherWay('provider', NEW_PROVIDER, ['name']) },
);
export const GET_PROVIDER = managed(
  'A provider',
  { 200: answer('The provider', { provider: PROVIDER }), ...FOUND },
  { parameters: [ID] },
);
export const DELETE_PROVIDER = managed(
  'Remove a provider with its keys, people and tokens',
  { 204: { description: 'It is gone' }, ...FOUND },
  { parameters: [ID] },
);
export const LIST_ISSUERS = managed(
  'The issuers',
  {
    200: answer('A page of them', { issuers: { type: 'array', items: ISSUER }, meta: META }),
    400: BODY[400],
  },
  { parameters: PAGING },
);
export const CREATE_ISSUER = managed(
  'Trust the tokens of another issuer, or make one',
  {
    201: answer('The issuer', { issuer: ISSUER }),
    ...BODY,
    404: refused('There is no such provider'),
    409: refused('There is one of this uri'),
  },
  { requestBody: eitherWay('issuer', NEW_ISSUER, []) },
);
export const GET_ISSUER = managed(
  'An issuer',
  { 200: answer('The issuer', { issuer: ISSUER }), ...FOUND },
  { parameters: [ID] },
);
export const PATCH_ISSUER = managed(
  'Change an external issuer',
  { 204: { description: 'It is changed' }, ...BODY, ...FOUND, 409: refused('It is managed') },
  { parameters: [ID], requestBody: eitherWay('issuer', NEW_ISSUER, []) },
);
export const DELETE_ISSUER = managed(
  'Remove an issuer',
  { 204: { description: 'It is gone' }, ...FOUND, 409: refused('It is that of a provider') },
  { parameters: [ID] },
);

const open = (summary: string, properties: Part): Part => ({
  summary,
  parameters: [ID],
  responses: { 200: answer(summary, properties), ...FOUND, ...AWAY },
});

export const ISSUER_JWKS = open('The public keys of an issuer', { keys: { type: 'array' } });
export const JWKS = open('The public keys of a provider', { keys: { type: 'array' } });
export const DISCOVERY = open('The discovery document of a provider (OpenID Connect Discovery 1.0)', {
  ...{ issuer: text, authorization_endpoint: text, token_endpoint: text, jwks_uri: text },
});

const TOKEN_FIELDS = {
  grant_type: {
    type: 'string',
    enum: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:token-exchange'],
  },
  ...Object.fromEntries(
    ['code', 'redirect_url', 'redirect_uri', 'code_verifier', 'refresh_token', 'scope', 'subject_token']
      .concat(['subject_token_type', 'audience', 'client_id', 'client_secret'])
      .map((name) => [name, optional(16384)]),
  ),
};
const TOKEN_SCHEMA = { type: 'object', required: ['grant_type'], properties: TOKEN_FIELDS };

export const TOKEN: Part = {
  summary: 'Redeem a code or a refresh token, or exchange the token of a trusted issuer',
  parameters: [ID],
  requestBody: {
    required: true,
    content: {
      'application/json': { schema: TOKEN_SCHEMA },
      'application/x-www-form-urlencoded': { schema: TOKEN_SCHEMA },
    },
  },
  responses: {
    201: answer('The tokens', { access_token: text, token_type: text, expires_in: { type: 'integer' } }),
    ...BODY,
    401: refused('The client has not proven itself'),
    403: refused('The API key has not the scope tokens'),
    ...FOUND,
    429: MANAGED[429],
    503: refused('No key signs, or keys or records cannot be had, at the moment'),
  },
};

/** What the endpoints take that OAuth and OpenID Connect describe; other parameters are theirs too. */
const PARAMETERS: Readonly<Record<string, { readonly required?: string; readonly optional: string }>> = {
  // Its parameters may be in the address too; a browser is sent on there before any is looked at.
  authorize: {
    optional: `client_id redirect_uri response_type scope state nonce code_challenge code_challenge_method
      prompt max_age login_hint`,
  },
  endsession: { optional: 'id_token_hint client_id post_logout_redirect_uri state' },
  introspect: { required: 'token', optional: 'token_type_hint client_id client_secret' },
  revocation: { required: 'token', optional: 'token_type_hint client_id client_secret' },
};

function formOf(name: string): Part {
  const found = PARAMETERS[name];
  if (found === undefined) return {};
  const required = found.required === undefined ? [] : [found.required];
  const names = [...required, ...found.optional.split(/\s+/)];
  const schema = {
    type: 'object',
    required,
    properties: Object.fromEntries(names.map((each) => [each, text])),
  };
  const content = { 'application/x-www-form-urlencoded': { schema } };
  return { requestBody: { required: required.length > 0, content } };
}

/** What OAuth and OpenID Connect describe. */
export function page(name: string, method: string): Part {
  return {
    summary: `OAuth 2.0: ${name}`,
    parameters: [ID],
    ...(method === 'POST' ? formOf(name) : {}),
    responses: {
      default: { description: 'As RFC 6749, RFC 7009, RFC 7662 and OpenID Connect Core 1.0 say' },
      200: { description: 'A page, or claims' },
      303: { description: 'To the next page, or back to the client' },
      ...AWAY,
    },
  };
}

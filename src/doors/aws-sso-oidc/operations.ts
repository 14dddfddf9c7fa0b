/** The operations in OpenAPI 3.1's words. Members that nobody knows are passed over. */
import { WORDS } from './exceptions.ts';
import { LIST_MAX, TEXT_MAX } from './fields.ts';
import { GRANT_TYPES } from './parts.ts';
import { NAME_MAX, TAKEN, URI_MAX, URIS_MAX } from './register.ts';

type Part = Readonly<Record<string, unknown>>;

const text: Part = { type: 'string', maxLength: TEXT_MAX };
const given: Part = { ...text, minLength: 1 };
const texts: Part = { type: 'array', maxItems: LIST_MAX, items: text };
const number: Part = { type: 'integer' };

/** An optional member that is null is not there. */
function body(required: readonly string[], members: Readonly<Record<string, Part>>): Part {
  const optional = (part: Part) => ({ anyOf: [part, { type: 'null' }] });
  const entries = Object.entries(members).map(
    ([name, part]) => [name, required.includes(name) ? part : optional(part)] as const,
  );
  const schema = { type: 'object', required, properties: Object.fromEntries(entries) };
  return { required: true, content: { 'application/json': { schema } } };
}

function answer(description: string, required: readonly string[], properties: Part): Part {
  const schema = { type: 'object', required, properties, additionalProperties: false };
  return { description, content: { 'application/json': { schema } } };
}

const exception = (description: string): Part => ({
  ...answer(description, ['error', 'error_description'], {
    error: { enum: WORDS },
    error_description: text,
    reason: text,
    endpoint: text,
    region: text,
  }),
  headers: {
    'x-amzn-ErrorType': { description: 'The class of the exception', required: true, schema: given },
  },
});

const exceptions: Part = {
  400: exception('Every exception but the two below'),
  401: exception('InvalidClientException'),
  500: exception('InternalServerException'),
};

const client = { clientId: given, clientSecret: given };

export const registerClient: Part = {
  summary: 'RegisterClient',
  requestBody: body(['clientName', 'clientType'], {
    clientName: { ...given, maxLength: NAME_MAX, pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]+$' },
    clientType: { const: 'public' },
    scopes: texts,
    redirectUris: {
      ...{ ...texts, maxItems: URIS_MAX, description: 'http addresses on loopback' },
      items: { ...text, maxLength: URI_MAX },
    },
    grantTypes: { ...texts, minItems: 1, items: { enum: TAKEN } },
    issuerUrl: text,
    entitledApplicationArn: text,
  }),
  responses: {
    200: answer('The client', ['clientId', 'clientSecret', 'clientIdIssuedAt', 'clientSecretExpiresAt'], {
      ...client,
      clientIdIssuedAt: number,
      clientSecretExpiresAt: number,
      authorizationEndpoint: text,
      tokenEndpoint: text,
    }),
    ...exceptions,
  },
};

const DEVICE = [
  'deviceCode',
  'userCode',
  'verificationUri',
  'verificationUriComplete',
  'expiresIn',
  'interval',
];

export const startDeviceAuthorization: Part = {
  summary: 'StartDeviceAuthorization',
  requestBody: body(['clientId', 'clientSecret', 'startUrl'], { ...client, startUrl: given }),
  responses: {
    200: answer('The codes', DEVICE, {
      ...Object.fromEntries(DEVICE.map((name) => [name, text])),
      expiresIn: number,
      interval: number,
    }),
    ...exceptions,
  },
};

export const createToken: Part = {
  summary: 'CreateToken, and with aws_iam=t, signed by Signature Version 4, CreateTokenWithIAM',
  parameters: [{ name: 'aws_iam', in: 'query', required: false, schema: { enum: ['t'] } }],
  requestBody: body(['clientId', 'grantType'], {
    ...client,
    grantType: { enum: Object.values(GRANT_TYPES) },
    deviceCode: text,
    code: text,
    redirectUri: text,
    codeVerifier: text,
    refreshToken: text,
    assertion: text,
    subjectToken: text,
    subjectTokenType: text,
    requestedTokenType: text,
    scope: texts,
  }),
  responses: {
    200: answer('The tokens', ['accessToken', 'tokenType', 'expiresIn'], {
      accessToken: given,
      tokenType: { const: 'Bearer' },
      expiresIn: number,
      refreshToken: text,
      idToken: text,
      issuedTokenType: text,
      scope: texts,
      awsAdditionalDetails: { type: 'object', properties: { identityContext: text } },
    }),
    ...exceptions,
  },
};

const parameter = (name: string, description: string): Part => ({
  ...{ name, in: 'query', required: false, description, schema: { type: 'string' } },
});

export const authorize: Part = {
  summary: 'RFC 6749 section 4.1.1 with the parameter names of the AWS CLI',
  parameters: [
    parameter('response_type', 'code'),
    parameter('client_id', 'As registered'),
    parameter('redirect_uri', 'As registered, with a port'),
    parameter('state', 'Comes back'),
    parameter('code_challenge', 'RFC 7636 section 4.2'),
    parameter('code_challenge_method', 'S256'),
    parameter('scopes', 'Separated by spaces; all of the registration where absent'),
  ],
  responses: {
    303: { description: 'To the login, or back to the client' },
    400: { description: 'The request is not one of a client that is known', content: { 'text/html': {} } },
  },
};

/** What the token endpoint is asked wrongly, and the word that it has for it. */
import { API, basic, hashOf, MACHINE, ORDERS_API, SECRET } from './server.ts';

export const CLIENTS = [
  MACHINE,
  ORDERS_API,
  {
    id: 'device',
    public: true,
    grants: ['device_code', 'refresh_token'],
    scopes: ['openid', 'offline_access', 'orders.read'],
  },
  {
    id: 'app',
    public: true,
    grants: ['authorization_code'],
    scopes: ['openid'],
    redirectUris: ['https://a.example/cb'],
  },
  { id: 'legacy', secrets: [hashOf('x')], grants: ['password'], scopes: ['orders.read'] },
];

export const MACHINES = basic(MACHINE.id, SECRET);
export const CC = 'grant_type=client_credentials';

type Vector = {
  readonly name: string;
  readonly form: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly path?: string;
  readonly status?: number;
  readonly error: string;
};

export const VECTORS: readonly Vector[] = [
  {
    name: 'an unknown grant',
    form: 'grant_type=nonsense',
    headers: MACHINES,
    error: 'unsupported_grant_type',
  },
  { name: 'implicit', form: 'grant_type=implicit', headers: MACHINES, error: 'unsupported_grant_type' },
  { name: 'no grant', form: 'scope=orders.read', headers: MACHINES, error: 'invalid_request' },
  { name: 'a repeated grant', form: `${CC}&${CC}`, headers: MACHINES, error: 'invalid_request' },
  {
    name: 'a repeated scope',
    form: `${CC}&scope=orders.read&scope=billing.read`,
    headers: MACHINES,
    error: 'invalid_request',
  },
  {
    name: 'JSON',
    form: '{"grant_type":"client_credentials"}',
    headers: { ...MACHINES, 'Content-Type': 'application/json' },
    error: 'invalid_request',
  },
  {
    name: 'a grant that the client may not use',
    form: 'grant_type=password&username=a&password=b',
    headers: MACHINES,
    error: 'unauthorized_client',
  },
  {
    name: 'a scope that the client may not have',
    form: `${CC}&scope=orders.write`,
    headers: MACHINES,
    error: 'invalid_scope',
  },
  {
    name: 'a scope that nobody knows',
    form: `${CC}&scope=orders.read%20nonsense`,
    headers: MACHINES,
    error: 'invalid_scope',
  },
  {
    name: 'an identity scope for a machine',
    form: `${CC}&scope=openid`,
    headers: MACHINES,
    error: 'invalid_scope',
  },
  { name: 'a scope with a quote', form: `${CC}&scope=%22`, headers: MACHINES, error: 'invalid_scope' },
  {
    name: 'an unknown resource',
    form: `${CC}&resource=https://other.example.com`,
    headers: MACHINES,
    error: 'invalid_target',
  },
  {
    name: 'a resource that none of the scopes is of',
    form: `${CC}&scope=billing.read&resource=${API}`,
    headers: MACHINES,
    error: 'invalid_target',
  },
  { name: 'no client', form: CC, status: 401, error: 'invalid_client' },
  {
    name: 'an unknown client, by Basic',
    form: CC,
    headers: basic('nobody', SECRET),
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'a wrong secret, by Basic',
    form: CC,
    headers: basic(MACHINE.id, 'wrong'),
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'the stored hash as the secret',
    form: CC,
    headers: basic(MACHINE.id, hashOf(SECRET)),
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'a wrong secret in the body',
    form: `${CC}&client_id=orders-api&client_secret=wrong`,
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'Basic and a secret in the body',
    form: `${CC}&client_id=orders-api&client_secret=orders`,
    headers: basic('orders-api', 'orders'),
    error: 'invalid_request',
  },
  {
    name: 'Basic and another client_id',
    form: `${CC}&client_id=legacy`,
    headers: MACHINES,
    error: 'invalid_request',
  },
  {
    name: 'Basic that is no base64',
    form: CC,
    headers: { Authorization: 'Basic %%%' },
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'Basic without a secret',
    form: CC,
    headers: { Authorization: `Basic ${Buffer.from('orders-api:').toString('base64')}` },
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'a bearer token in the place of a client',
    form: CC,
    headers: { Authorization: 'Bearer x' },
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'a repeated parameter that nobody knows',
    form: `${CC}&foo=1&foo=2`,
    headers: MACHINES,
    error: 'invalid_request',
  },
  {
    name: 'a secret for a public client',
    form: 'grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=device&client_secret=x&device_code=y',
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'an unknown code',
    form: 'grant_type=authorization_code&code=x&redirect_uri=https://a.example/cb&client_id=app',
    error: 'invalid_grant',
  },
  {
    name: 'the code of a client without that grant',
    form: 'grant_type=authorization_code&code=x&redirect_uri=https://a.example/cb',
    headers: MACHINES,
    error: 'unauthorized_client',
  },
  {
    name: 'an unknown refresh token',
    form: 'grant_type=refresh_token&refresh_token=x&client_id=device',
    error: 'invalid_grant',
  },
  { name: 'no refresh token', form: 'grant_type=refresh_token&client_id=device', error: 'invalid_request' },
  {
    name: 'an unknown device code',
    form: 'grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=device&device_code=x',
    error: 'invalid_grant',
  },
  {
    name: 'a stand-in for a stored id',
    form: 'grant_type=refresh_token&refresh_token=~x.y&client_id=device',
    error: 'invalid_grant',
  },
  {
    name: 'a stand-in that is no ASCII',
    form: `grant_type=refresh_token&refresh_token=${encodeURIComponent(`~x.${'é'.repeat(43)}`)}&client_id=device`,
    error: 'invalid_grant',
  },
  {
    name: 'a device that asks for too much',
    path: '/connect/deviceauthorization',
    form: 'client_id=device&scope=billing.read',
    error: 'invalid_scope',
  },
  {
    name: 'a device flow of another client',
    path: '/connect/deviceauthorization',
    form: '',
    headers: MACHINES,
    error: 'unauthorized_client',
  },
  {
    name: 'introspection without a token',
    path: '/connect/introspect',
    form: '',
    headers: MACHINES,
    error: 'invalid_request',
  },
  {
    name: 'introspection by nobody',
    path: '/connect/introspect',
    form: 'token=x',
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'a device of nobody',
    path: '/connect/deviceauthorization',
    form: '',
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'revocation with a wrong secret',
    path: '/connect/revocation',
    form: 'token=x',
    headers: basic(MACHINE.id, 'x'),
    status: 401,
    error: 'invalid_client',
  },
];

/** An issuer with the AWS door beside the OAuth door, and the SDK's client for it. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RegisterClientCommand, SSOOIDCClient } from '@aws-sdk/client-sso-oidc';
import { openBrowser, type Page } from '../oauth/browser.ts';
import { adminPost } from '../oauth/people.ts';
import { API, RESOURCES, withIntrospector } from '../oauth/server.ts';
import {
  createPlace,
  type Place,
  type Scope,
  type Server,
  type Settings,
  start,
  writeConfig,
} from '../system/start.ts';

export const PASSWORD = 'correct horse battery staple';
export const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
export const CLI_REDIRECT = 'http://127.0.0.1/oauth/callback';
/** What the CLI's listener would be: nobody listens there. */
export const LISTENER = 'http://127.0.0.1:9/oauth/callback';
export const SCOPES = ['openid', 'profile', 'email', 'sso:account:access', 'orders.read'];
export const START_URL = 'https://acme.awsapps.com/start';

export type Configured = {
  readonly door?: Settings;
  readonly oauth?: Settings;
  readonly more?: Settings;
};

export function configure(place: Place, { door = {}, oauth = {}, more = {} }: Configured = {}): void {
  const people = { passwords: { cost: 10 } };
  writeConfig(place, {
    doors: {
      fly: {},
      oauth: withIntrospector({ resources: RESOURCES, people, deviceInterval: '1s', ...oauth }),
      'aws-sso-oidc': { scopes: SCOPES, ...door },
    },
    ...more,
  });
}

export async function startAws(scope: Scope, configured: Configured = {}): Promise<Server> {
  const place = await createPlace(scope);
  configure(place, configured);
  const server = await start(scope, place);
  await addAda(place);
  return server;
}

export async function addAda({ admin }: Place): Promise<void> {
  const ada = { username: 'ada', password: PASSWORD, claims: { name: 'Ada', email: 'ada@example.com' } };
  assert.equal(await adminPost(admin, '/v1/users/add', ada), 200);
}

export function sdk(endpoint: string, more: object = {}): SSOOIDCClient {
  return new SSOOIDCClient({ endpoint, region: 'eu-central-1', maxAttempts: 1, ...more });
}

export type Registered = { readonly clientId: string; readonly clientSecret: string };

export async function register(client: SSOOIDCClient, more: object = {}): Promise<Registered> {
  const input = {
    clientName: 'aws-cli',
    clientType: 'public',
    grantTypes: ['authorization_code', 'refresh_token', DEVICE],
    redirectUris: [CLI_REDIRECT],
    ...more,
  };
  const { clientId = '', clientSecret = '' } = await client.send(new RegisterClientCommand(input));
  return { clientId, clientSecret };
}

/** What the CLI opens (awscli 2.22 and later), with its parameters in its order. */
export function cliUrl(origin: string, clientId: string, more: Readonly<Record<string, string>> = {}) {
  const codeVerifier = randomBytes(48).toString('base64url');
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: clientId,
    redirect_uri: LISTENER,
    state: '6f0d1a7e',
    code_challenge_method: 'S256',
    scopes: 'sso:account:access openid',
    code_challenge: createHash('sha256').update(codeVerifier).digest('base64url'),
    ...more,
  });
  return { url: `${origin}/authorize?${query}`, codeVerifier };
}

/** Signs in and allows; resolves to the page that the browser ends on. */
export async function allow(url: string, application = LISTENER): Promise<Page> {
  const browser = openBrowser(application);
  const login = await browser.open(url);
  const asked = await browser.submit(login, /\/login$/, { username: 'ada', password: PASSWORD });
  return browser.submit(asked, /\/consent$/, { decision: 'allow' });
}

/** The same for a device, whose page asks first whether the code is right. */
export async function approve(verificationUriComplete: string, decision = 'allow'): Promise<void> {
  const browser = openBrowser('https://nowhere.example');
  const shown = await browser.open(verificationUriComplete);
  const login = await browser.submit(shown, /\/device/, { confirm: 'yes' });
  const asked = await browser.submit(login, /\/login$/, { username: 'ada', password: PASSWORD });
  await browser.submit(asked, /\/consent$/, { decision });
}

export const ACCESS_KEY = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfi',
};
export const APPLICATION =
  'arn:aws:sso::123456789012:application/ssoins-1111111111111111/apl-2222222222222222';

/** Settings for an application that signs its calls. */
export function iamSettings({ directory }: Place, more: Settings = {}, application: Settings = {}): Settings {
  const secretFile = join(directory, 'aws-secret');
  writeFileSync(secretFile, `${ACCESS_KEY.secretAccessKey}\n`, { mode: 0o600 });
  return {
    applications: [
      {
        id: APPLICATION,
        grants: ['authorization_code', 'refresh_token', 'jwt_bearer', 'token_exchange'],
        audience: API,
        scopes: ['openid', 'orders.read', 'orders.write'],
        redirectUris: ['https://app.example.com/callback'],
        ...application,
      },
    ],
    credentials: [{ accessKeyId: ACCESS_KEY.accessKeyId, secretFile, applications: [APPLICATION] }],
    ...more,
  };
}

/** /v2/oidc/issuer: our own issuers, and those of others whose tokens are taken. */

import { randomUUID } from 'node:crypto';
import type { Context } from 'koa';
import { IssuerError } from '../../core/errors.ts';
import { parameterOf, type Route } from '../door.ts';
import { answerJson, answerNothing } from './answers.ts';
import { type ApiKey, isFor } from './api-keys.ts';
import {
  absent,
  assertId,
  conflict,
  type Fields,
  forbidden,
  readWrapped,
  refuse,
  requireText,
  textOf,
} from './fields.ts';
import { type ExternalIssuer, fetchKeys, type Issuer } from './issuers.ts';
import * as operations from './operations.ts';
import { pageOf } from './paging.ts';
import type { HostedSpec, Jwk, Vultr } from './parts.ts';
import { orKept, type RouteParts } from './provider-routes.ts';
import { specOf, unlinked } from './providers.ts';

const KEY_FIELDS = ['kid', 'kty', 'alg', 'use', 'n', 'e'];
const FIELDS = ['source', 'source_id', 'uri', ...KEY_FIELDS];
const TEXT_MAX = 2048;
/** Keys that were given are looked for at their issuer after that. */
const GIVEN_SECONDS = 3600;

export function issuerRoutes(parts: RouteParts): readonly Route[] {
  const { vultr, keys, issuers } = parts;
  const path = `${new URL(vultr.base).pathname}/issuer`;
  const mine = async (key: ApiKey, context: Context) => {
    const issuer = await issuers.require(parameterOf(context, 'id'));
    if (!isOf(key, issuer)) throw absent('issuer');
    return issuer;
  };
  const list = async (context: Context) => {
    const key = await keys.require(context, 'issuers:read');
    const ready = new Set((await parts.providers.list()).map(({ id }) => id));
    // One of a provider that is being made or removed is not there, as the provider is not.
    const isThere = (each: Issuer) =>
      each.source === 'external' || each.provider === undefined || ready.has(each.provider);
    const { items, meta } = pageOf(
      context,
      (await issuers.list()).filter((each) => isOf(key, each) && isThere(each)),
    );
    const shown: unknown[] = [];
    for (const issuer of items) shown.push(...(await describeThere(parts, issuer)));
    answerJson(context, 200, { issuers: shown, meta });
  };
  const create = async (context: Context) => {
    const key = await keys.require(context, 'issuers:write');
    const issuer = await createIssuer(parts, key, await readWrapped(context, 'issuer', FIELDS));
    vultr.tell({ issuer: issuer.id, source: issuer.source, apiKey: key.name }, 'an issuer was made');
    answerJson(context, 201, { issuer: await describe(parts, issuer) });
  };
  const show = async (context: Context) => {
    const key = await keys.require(context, 'issuers:read');
    answerJson(context, 200, { issuer: await describe(parts, await mine(key, context)) });
  };
  const change = async (context: Context) => {
    const key = await keys.require(context, 'issuers:write');
    const issuer = await mine(key, context);
    if (issuer.source === 'managed') throw conflict('a managed issuer rotates its keys by itself');
    await changeIssuer(parts, key, issuer, await readWrapped(context, 'issuer', FIELDS));
    vultr.tell({ issuer: issuer.id, apiKey: key.name }, 'an issuer was changed');
    answerNothing(context);
  };
  const remove = async (context: Context) => {
    const key = await keys.require(context, 'issuers:write');
    const issuer = await issuers.find(assertId(parameterOf(context, 'id'), 'issuer'));
    if (issuer === undefined || !isOf(key, issuer)) throw absent('issuer');
    await parts.providers.removeIssuer(issuer);
    vultr.tell({ issuer: issuer.id, apiKey: key.name }, 'an issuer was removed');
    answerNothing(context);
  };
  const jwks = async (context: Context) => {
    const id = parameterOf(context, 'id');
    const jwks = await findJwks(parts, id);
    context.set('Cache-Control', `public, max-age=${vultr.cacheForSeconds}`);
    answerJson(context, 200, { keys: jwks });
  };
  return [
    { method: 'GET', path, operation: operations.LIST_ISSUERS, handle: list },
    { method: 'POST', path, operation: operations.CREATE_ISSUER, handle: create },
    { method: 'GET', path: `${path}/{id}`, operation: operations.GET_ISSUER, handle: show },
    { method: 'PATCH', path: `${path}/{id}`, operation: operations.PATCH_ISSUER, handle: change },
    { method: 'DELETE', path: `${path}/{id}`, operation: operations.DELETE_ISSUER, handle: remove },
    { method: 'GET', path: `${path}/{id}/jwks`, operation: operations.ISSUER_JWKS, handle: jwks },
  ];
}

/** A key for some providers sees what is theirs alone. */
function isOf(key: ApiKey, { provider }: Issuer): boolean {
  return key.providers === undefined || (provider !== undefined && isFor(key, provider));
}

async function createIssuer(parts: RouteParts, key: ApiKey, fields: Fields): Promise<Issuer> {
  const { vultr, issuers } = parts;
  const source = textOf(fields, 'source', TEXT_MAX) ?? 'external';
  if (source === 'managed') {
    if (key.providers !== undefined) throw forbidden('this API key is for the providers that it names');
    const other = FIELDS.slice(1).find((name) => textOf(fields, name, TEXT_MAX) !== undefined);
    if (other !== undefined) throw refuse(`a managed issuer takes no ${other}`);
    return createManaged(parts);
  }
  if (source !== 'external') throw refuse('source is external or managed');
  const uri = uriOf(requireText(fields, 'uri', TEXT_MAX));
  const provider = await providerOf(parts, key, fields);
  const given = givenKey(vultr, fields);
  const now = vultr.clock.now();
  const from =
    given === undefined
      ? await fetchKeys(vultr, uri)
      : { keys: [given], isGiven: true, fetchedAt: now, expiresAt: now + GIVEN_SECONDS };
  const id = await issuers.addExternal({ uri, provider, ...from });
  await assertOwned(parts, id, provider);
  return issuers.require(id);
}

async function createManaged({ vultr, issuers, providers, host }: RouteParts): Promise<Issuer> {
  const id = randomUUID();
  await issuers.addManaged(id, undefined);
  try {
    await host.make(unlinked(vultr, id), undefined);
    await issuers.made(id);
  } catch (error) {
    await providers.removeIssuer({ id, source: 'managed', isRemoved: true });
    throw error;
  }
  return issuers.require(id);
}

/** The removal of a provider that began meanwhile has not seen the issuer. Throws `not_found`. */
async function assertOwned(
  { issuers, providers }: RouteParts,
  id: string,
  provider: string | undefined,
): Promise<void> {
  if (provider === undefined || (await providers.find(provider)) !== undefined) return;
  await issuers.remove(id);
  throw absent('provider');
}

/** The provider that takes its tokens. A key for one provider makes issuers for that alone. */
async function providerOf(
  { providers }: Pick<RouteParts, 'providers'>,
  key: ApiKey,
  fields: Fields,
): Promise<string | undefined> {
  const named = textOf(fields, 'source_id', TEXT_MAX) ?? key.providers?.[0];
  if (named === undefined) return undefined;
  if (!isFor(key, named)) throw absent('provider');
  return (await providers.require(named)).id;
}

/** What takes long is done first: the change itself is of the issuer as it then is. */
async function changeIssuer(
  parts: RouteParts,
  key: ApiKey,
  issuer: ExternalIssuer,
  fields: Fields,
): Promise<void> {
  const { vultr, issuers } = parts;
  const source = textOf(fields, 'source', TEXT_MAX);
  if (source !== undefined && source !== 'external') throw refuse('source cannot be changed');
  // Empty, it says: of no provider alone.
  const isOwned = Object.hasOwn(fields, 'source_id');
  if (isOwned && key.providers !== undefined && textOf(fields, 'source_id', TEXT_MAX) === undefined)
    throw forbidden('this API key is for the providers that it names');
  const provider = isOwned ? await providerOf(parts, key, fields) : undefined;
  const sent = textOf(fields, 'uri', TEXT_MAX);
  const uri = sent === undefined ? issuer.uri : uriOf(sent);
  const sentKey = textsOf(fields, KEY_FIELDS);
  const isKey = Object.keys(sentKey).length > 0;
  const fetched = isKey || uri === issuer.uri ? {} : { ...(await fetchKeys(vultr, uri)), isGiven: false };
  await issuers.change(issuer.id, (now) => {
    if (!isOf(key, now)) throw absent('issuer'); // it was given to another provider meanwhile
    const { uri: uriNow } = now as ExternalIssuer;
    // Its keys would be those of the uri that it had when they were not fetched.
    if (sent !== undefined && !isKey && uri === issuer.uri && uriNow !== uri)
      throw conflict('the issuer is being changed by others: try again');
    return {
      ...(sent === undefined ? {} : { uri }),
      ...(isOwned ? { provider } : {}),
      ...(isKey ? keyAfter(vultr, now as ExternalIssuer, sentKey) : fetched),
    };
  });
  await assertOwned(parts, issuer.id, provider);
}

/** The key that it had, with what is given for it. */
function keyAfter(vultr: Vultr, { keys: [known = {}] }: ExternalIssuer, sent: Fields) {
  const given = givenKey(vultr, { ...known, ...sent });
  if (given === undefined) throw refuse('n and e are missing');
  const now = vultr.clock.now();
  return { keys: [given], isGiven: true, fetchedAt: now, expiresAt: now + GIVEN_SECONDS };
}

async function specFor({ vultr, providers }: RouteParts, { id, provider }: Issuer): Promise<HostedSpec> {
  if (provider === undefined) return unlinked(vultr, id);
  const found = await providers.find(provider);
  if (found === undefined) throw absent('issuer');
  return specOf(vultr, found);
}

/** What was published is published on while the records cannot be had. */
async function findJwks(parts: RouteParts, id: string): Promise<readonly Jwk[]> {
  const { issuers, host } = parts;
  const spec = await orKept(host, ['issuer', id], async () => {
    const issuer = await issuers.require(id);
    return issuer.source === 'external' ? issuer : specFor(parts, issuer);
  });
  return 'keys' in spec ? spec.keys : (await host.documents(spec)).jwks.keys;
}

/** Nothing where it went between the list and the look at its keys. */
async function describeThere(parts: RouteParts, issuer: Issuer): Promise<readonly unknown[]> {
  try {
    return [await describe(parts, issuer)];
  } catch (error) {
    if (error instanceof IssuerError && error.code === 'not_found') return [];
    throw error;
  }
}

async function describe(parts: RouteParts, issuer: Issuer) {
  const { id, source } = issuer;
  const isOwn = issuer.source === 'managed';
  const keys = isOwn ? (await parts.host.look(await specFor(parts, issuer))).jwks.keys : issuer.keys;
  const [key = {}] = keys;
  const { kid = '', kty = '', n = '', e = '', alg = '', use = '' } = key as Jwk;
  const now = parts.vultr.clock.now();
  const { uri, fetchedAt, expiresAt } =
    issuer.source === 'external'
      ? issuer
      : {
          uri: (await specFor(parts, issuer)).identifier,
          fetchedAt: now,
          expiresAt: now + parts.vultr.cacheForSeconds,
        };
  const times = { jwks_fetched_at: timeOf(fetchedAt), jwks_expires_at: timeOf(expiresAt) };
  return { id, source, source_id: issuer.provider ?? null, uri, kid, kty, n, e, alg, use, ...times };
}

function timeOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}

/** Compared character by character with the `iss` of tokens. */
function uriOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isWeb = url?.protocol === 'https:' || url?.protocol === 'http:';
  if (url === undefined || !isWeb || /\s/.test(text)) throw refuse('uri is no http(s) URL');
  if (`${url.username}${url.password}` !== '' || text.includes('#'))
    throw refuse('uri has a user, a password or a fragment, which no issuer has');
  return text;
}

/** Throws `invalid_request` where it is no key that can verify. */
function givenKey({ publicKeys }: Vultr, fields: Fields): Jwk | undefined {
  const given = textsOf(fields, KEY_FIELDS);
  if (given.n === undefined && given.e === undefined) return undefined;
  try {
    return publicKeys({ keys: [{ kty: 'RSA', use: 'sig', ...given }] })[0];
  } catch (error) {
    throw refuse(`kid, kty, n, e, alg and use are no key: ${(error as Error).message}`);
  }
}

/** Those that are there, and not empty. */
function textsOf(fields: Fields, names: readonly string[]): Readonly<Record<string, string>> {
  const members = names.flatMap((name) => {
    const value = textOf(fields, name, TEXT_MAX);
    return value === undefined ? [] : [[name, value] as const];
  });
  return Object.fromEntries(members);
}

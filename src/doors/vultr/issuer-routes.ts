/** /v2/oidc/issuer: our own issuers, and those of others whose tokens are taken. */
import { randomUUID } from 'node:crypto';
import type { Context } from 'koa';
import { parameterOf, type Route } from '../door.ts';
import { answerJson, answerNothing } from './answers.ts';
import { type ApiKey, isFor } from './api-keys.ts';
import { absent, conflict, type Fields, readWrapped, refuse, requireText, textOf } from './fields.ts';
import { type ExternalIssuer, fetchKeys, type Issuer } from './issuers.ts';
import * as operations from './operations.ts';
import { pageOf } from './paging.ts';
import type { HostedSpec, Jwk, Vultr } from './parts.ts';
import type { RouteParts } from './provider-routes.ts';
import { specOf } from './providers.ts';

const FIELDS = ['source', 'source_id', 'uri', 'kid', 'kty', 'alg', 'use', 'n', 'e'];
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
    const { items, meta } = pageOf(
      context,
      (await issuers.list()).filter((each) => isOf(key, each)),
    );
    const shown: unknown[] = [];
    for (const issuer of items) shown.push(await describe(parts, issuer));
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
    await changeIssuer(parts, key, issuer, await readWrapped(context, 'issuer', FIELDS));
    vultr.tell({ issuer: issuer.id, apiKey: key.name }, 'an issuer was changed');
    answerNothing(context);
  };
  const remove = async (context: Context) => {
    const key = await keys.require(context, 'issuers:write');
    const issuer = await mine(key, context);
    await removeIssuer(parts, issuer);
    vultr.tell({ issuer: issuer.id, apiKey: key.name }, 'an issuer was removed');
    answerNothing(context);
  };
  const jwks = async (context: Context) => {
    const issuer = await issuers.require(parameterOf(context, 'id'));
    context.set('Cache-Control', `public, max-age=${vultr.cacheForSeconds}`);
    answerJson(context, 200, { keys: await keysOf(parts, issuer) });
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

async function createIssuer(
  { vultr, issuers, providers, host }: RouteParts,
  key: ApiKey,
  fields: Fields,
): Promise<Issuer> {
  const source = textOf(fields, 'source', TEXT_MAX) ?? 'external';
  if (source === 'managed') {
    if (key.providers !== undefined) throw conflict('this API key is for the providers that it names');
    const other = FIELDS.slice(1).find((name) => textOf(fields, name, TEXT_MAX) !== undefined);
    if (other !== undefined) throw refuse(`a managed issuer takes no ${other}`);
    const id = randomUUID();
    await issuers.addManaged(id, undefined);
    await host.make(unlinked(vultr, id), undefined);
    return issuers.require(id);
  }
  if (source !== 'external') throw refuse('source is external or managed');
  const uri = uriOf(requireText(fields, 'uri', TEXT_MAX));
  const provider = await providerOf({ providers }, key, fields);
  const given = givenKey(vultr, fields);
  const now = vultr.clock.now();
  const from =
    given === undefined
      ? await fetchKeys(vultr, uri)
      : { keys: [given], isGiven: true, fetchedAt: now, expiresAt: now + GIVEN_SECONDS };
  const owner = provider === undefined ? {} : { provider };
  return issuers.require(await issuers.addExternal({ uri, ...owner, ...from }));
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

async function changeIssuer(
  { vultr, issuers, providers }: RouteParts,
  key: ApiKey,
  issuer: Issuer,
  fields: Fields,
): Promise<void> {
  if (issuer.source === 'managed') throw conflict('a managed issuer rotates its keys by itself');
  const source = textOf(fields, 'source', TEXT_MAX);
  if (source !== undefined && source !== 'external') throw refuse('source cannot be changed');
  const named = textOf(fields, 'source_id', TEXT_MAX);
  const provider = named === undefined ? issuer.provider : await providerOf({ providers }, key, fields);
  const sent = textOf(fields, 'uri', TEXT_MAX);
  const uri = sent === undefined ? issuer.uri : uriOf(sent);
  await issuers.change(issuer, {
    uri,
    ...(provider === undefined ? {} : { provider }),
    ...(await keysAfter(vultr, issuer, uri, fields)),
  });
}

/** Other keys than before where some are given, or the issuer is another. */
async function keysAfter(vultr: Vultr, issuer: ExternalIssuer, uri: string, fields: Fields) {
  const [known = {}] = issuer.keys;
  const isKey = ['kid', 'kty', 'alg', 'use', 'n', 'e'].some((name) => textOf(fields, name, TEXT_MAX));
  if (!isKey) return uri === issuer.uri ? {} : { ...(await fetchKeys(vultr, uri)), isGiven: false };
  const given = givenKey(vultr, { ...known, ...fields });
  if (given === undefined) throw refuse('n and e are missing');
  const now = vultr.clock.now();
  return { keys: [given], isGiven: true, fetchedAt: now, expiresAt: now + GIVEN_SECONDS };
}

async function removeIssuer({ vultr, issuers, host }: RouteParts, issuer: Issuer): Promise<void> {
  if (issuer.source === 'managed') {
    if (issuer.provider !== undefined) throw conflict('it is the issuer of a provider: delete that');
    await issuers.remove(issuer);
    await host.remove(unlinked(vultr, issuer.id));
    return;
  }
  await issuers.remove(issuer);
}

/** A managed issuer that is no provider's yet. */
export function unlinked({ base }: Pick<Vultr, 'base'>, id: string): HostedSpec {
  return { ring: id, identifier: `${base}/issuer/${id}` };
}

async function specFor({ vultr, providers }: RouteParts, { id, provider }: Issuer): Promise<HostedSpec> {
  if (provider === undefined) return unlinked(vultr, id);
  return specOf(vultr, await providers.require(provider));
}

async function keysOf(parts: RouteParts, issuer: Issuer): Promise<readonly Jwk[]> {
  if (issuer.source === 'external') return issuer.keys;
  return (await parts.host.documents(await specFor(parts, issuer))).jwks.keys;
}

async function describe(parts: RouteParts, issuer: Issuer) {
  const { id, source } = issuer;
  const [key = {}] = await keysOf(parts, issuer);
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
  return { id, source, uri, kid, kty, n, e, alg, use, ...times };
}

function timeOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}

/** Compared character by character with the `iss` of tokens. */
function uriOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isWeb = url?.protocol === 'https:' || url?.protocol === 'http:';
  if (url === undefined || !isWeb || url.username + url.password + url.hash !== '' || /\s/.test(text))
    throw refuse('uri is no http(s) URL');
  return text;
}

/** Throws `invalid_request` where it is no key that can verify. */
function givenKey({ publicKeys }: Vultr, fields: Fields): Jwk | undefined {
  const members = ['kid', 'kty', 'alg', 'use', 'n', 'e'].flatMap((name) => {
    const value = textOf(fields, name, TEXT_MAX);
    return value === undefined ? [] : [[name, value] as const];
  });
  const given = Object.fromEntries(members);
  if (given.n === undefined && given.e === undefined) return undefined;
  try {
    return publicKeys({ keys: [{ kty: 'RSA', use: 'sig', ...given }] })[0];
  } catch (error) {
    throw refuse(`kid, kty, n, e, alg and use are no key: ${(error as Error).message}`);
  }
}

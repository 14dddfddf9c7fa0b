/** /v2/oidc/provider: providers, and what is below each of them. */
import type { Context } from 'koa';
import { IssuerError } from '../../core/errors.ts';
import { parameterOf, type Route } from '../door.ts';
import { answerJson, answerNothing, shapeAnswer } from './answers.ts';
import { type ApiKey, type ApiKeys, isFor } from './api-keys.ts';
import { absent, forbidden, keyOf, readWrapped, requireText, textOf } from './fields.ts';
import type { Issuers } from './issuers.ts';
import * as operations from './operations.ts';
import { pageOf } from './paging.ts';
import type { HostedSpec, IssuerHost, Vultr } from './parts.ts';
import { type Provider, type Providers, specOf } from './providers.ts';
import { answerToken, clientsOf } from './token.ts';

export type RouteParts = {
  readonly vultr: Vultr;
  readonly keys: ApiKeys;
  readonly providers: Providers;
  readonly issuers: Issuers;
  readonly host: IssuerHost;
};

/** Not for clients: browsers come there by themselves. */
const PAGES = ['interaction', 'authorize/{uid}', 'endsession/confirm', 'endsession/success'];
const NAME_MAX = 255;

export function providerRoutes(parts: RouteParts): readonly Route[] {
  const { vultr, providers } = parts;
  const path = `${new URL(vultr.base).pathname}/provider`;
  const one = (work: (context: Context, provider: Provider) => Promise<void>) => async (context: Context) =>
    work(context, await providers.require(parameterOf(context, 'id')));
  const below = `${path}/{id}`;
  return [
    ...management(parts, path),
    {
      ...{ method: 'POST', path: `${below}/token`, operation: operations.TOKEN },
      handle: one((context, provider) => answerToken(context, provider, parts)),
    },
    ...documents(parts, path),
    ...pages(parts, below, one),
  ];
}

type ForOne = (work: (context: Context, provider: Provider) => Promise<void>) => Route['handle'];

function management({ vultr, keys, providers, issuers }: RouteParts, path: string): readonly Route[] {
  const mine = async (key: ApiKey, context: Context) => {
    const id = parameterOf(context, 'id');
    if (!isFor(key, id)) throw absent('provider');
    return providers.require(id);
  };
  const list = async (context: Context) => {
    const key = await keys.require(context, 'providers:read');
    const { items, meta } = pageOf(
      context,
      (await providers.list()).filter(({ id }) => isFor(key, id)),
    );
    answerJson(context, 200, { providers: items.map(describe), meta });
  };
  const create = async (context: Context) => {
    const key = await keys.require(context, 'providers:write');
    if (key.providers !== undefined) throw forbidden('this API key is for the providers that it names');
    const fields = await readWrapped(context, 'provider', ['name', 'issuer_id', 'private_key_b64']);
    const name = requireText(fields, 'name', NAME_MAX);
    const issuerId = textOf(fields, 'issuer_id', NAME_MAX);
    if (issuerId !== undefined) await issuers.require(issuerId);
    const made = await providers.create({ name, issuerId, key: keyOf(fields, 'private_key_b64') });
    vultr.tell({ provider: made.id, name, apiKey: key.name }, 'a provider was made');
    answerJson(context, 201, { provider: describe(made) });
  };
  const show = async (context: Context) => {
    const key = await keys.require(context, 'providers:read');
    answerJson(context, 200, { provider: describe(await mine(key, context)) });
  };
  const remove = async (context: Context) => {
    const key = await keys.require(context, 'providers:write');
    const id = parameterOf(context, 'id');
    if (!isFor(key, id)) throw absent('provider');
    await providers.remove(id, () =>
      vultr.tell({ provider: id, apiKey: key.name }, 'a provider is being removed'),
    );
    answerNothing(context);
  };
  return [
    { method: 'GET', path, operation: operations.LIST_PROVIDERS, handle: list },
    { method: 'POST', path, operation: operations.CREATE_PROVIDER, handle: create },
    { method: 'GET', path: `${path}/{id}`, operation: operations.GET_PROVIDER, handle: show },
    { method: 'DELETE', path: `${path}/{id}`, operation: operations.DELETE_PROVIDER, handle: remove },
  ];
}

function describe({ id, issuerId, name }: Provider) {
  return { id, issuer_id: issuerId, name };
}

/** Open to everybody, as relying parties need them. */
function documents({ vultr, host, providers }: RouteParts, path: string): readonly Route[] {
  const published = async (context: Context) => {
    const id = parameterOf(context, 'id');
    const spec = await orKept(host, ['provider', id], async () => specOf(vultr, await providers.require(id)));
    return host.documents(spec);
  };
  const cacheable = (context: Context) =>
    context.set({
      'Cache-Control': `public, max-age=${vultr.cacheForSeconds}`,
      'Access-Control-Allow-Origin': '*',
    });
  const discovery = async (context: Context) => {
    const { metadata } = await published(context);
    cacheable(context);
    answerJson(context, 200, metadata);
  };
  const jwks = async (context: Context) => {
    const { jwks: keys } = await published(context);
    cacheable(context);
    answerJson(context, 200, keys);
  };
  const known = '.well-known/openid-configuration';
  const besides = path.replace(/\/provider$/, '');
  return [
    { method: 'GET', path: `${path}/{id}/${known}`, operation: operations.DISCOVERY, handle: discovery },
    { method: 'GET', path: `${besides}/{id}/${known}`, operation: operations.DISCOVERY, handle: discovery },
    { method: 'GET', path: `${path}/{id}/.well-known/jwks`, operation: operations.JWKS, handle: jwks },
  ];
}

/** What `find` finds; while that fails, the issuer in memory, whose documents are good on. */
export async function orKept<T>(
  host: IssuerHost,
  which: Parameters<IssuerHost['kept']>,
  find: () => Promise<T>,
): Promise<T | HostedSpec> {
  try {
    return await find();
  } catch (error) {
    const isAway = error instanceof IssuerError && error.code === 'temporarily_unavailable';
    const kept = isAway ? host.kept(...which) : undefined;
    if (kept === undefined) throw error;
    return kept;
  }
}

/** What the OAuth server answers by itself: pages of a browser, and the endpoints of its tokens. */
function pages({ vultr, host }: RouteParts, below: string, one: ForOne): readonly Route[] {
  const answer = one(async (context, provider) => {
    const { req, res } = context;
    if (context.path.endsWith('/authorize') && context.method !== 'POST') fillScope(context, vultr, provider);
    shapeAnswer(context);
    try {
      context.respond = false;
      await host.handle(specOf(vultr, provider), req, res);
    } catch (error) {
      context.respond = true;
      throw error;
    }
  });
  const pass = async (context: Context) => {
    try {
      await answer(context);
    } catch (error) {
      if (!(error instanceof IssuerError) || context.accepts('json', 'html') !== 'html') throw error;
      const { code, detail } = error;
      if (code !== 'not_found' && code !== 'temporarily_unavailable') throw error;
      if (code === 'temporarily_unavailable') vultr.refused(code, detail);
      await vultr.showError(context, code);
    }
  };
  const shown: readonly (readonly [string, readonly ('GET' | 'POST' | 'OPTIONS')[], boolean])[] = [
    ['authorize', ['GET', 'POST'], false],
    ['authorize/{uid}', ['GET'], false],
    ['interaction', ['GET', 'POST'], true],
    ['endsession', ['GET', 'POST'], false],
    ['endsession/confirm', ['POST'], false],
    ['endsession/success', ['GET'], false],
    ['userinfo', ['GET', 'POST', 'OPTIONS'], false],
    ['introspect', ['POST'], false],
    ['revocation', ['POST'], false],
  ];
  return shown.flatMap(([name, methods, isPrefix]) =>
    methods.map((method) => ({
      ...{ method, path: `${below}/${name}`, isPrefix, handle: pass },
      operation: operations.page(name, method),
      isPage: PAGES.includes(name) || method === 'OPTIONS',
    })),
  );
}

/** The published client leaves `scope` out where its caller does: everything that the client may have. */
function fillScope(context: Context, vultr: Vultr, provider: Provider): void {
  const url = new URL(context.req.url ?? '', vultr.base);
  if (url.searchParams.has('scope')) return;
  const id = url.searchParams.get('client_id');
  const scopes = clientsOf(vultr, provider).find((client) => client.id === id)?.scopes;
  if (scopes === undefined) return;
  url.searchParams.set('scope', scopes.join(' '));
  context.req.url = `${url.pathname}${url.search}`;
}

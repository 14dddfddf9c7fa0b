/** On the admin socket: API keys, and the keys and users of each provider at /v1/issuers/ID. */
import type { Context } from 'koa';
import { IssuerError } from '../../core/errors.ts';
import { readFields } from '../body.ts';
import { parameterOf, type Route } from '../door.ts';
import { bodyErrors, errorAnswer, jsonAnswer, jsonBody } from '../openapi.ts';
import { type ApiKey, SCOPES, type Scope } from './api-keys.ts';
import { absent, conflict, type Fields, isId, refuse, requireText } from './fields.ts';
import type { RouteParts } from './provider-routes.ts';
import { specOf } from './providers.ts';

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;
const OVERLAP_MAX_SECONDS = 30 * 86_400;
const OVERLAP_SECONDS = 86_400;
const TEXT = { type: 'string' };
const NAMED = { type: 'string', pattern: NAME.source };

export function adminRoutes(parts: RouteParts): readonly Route[] {
  return [...apiKeyRoutes(parts), ...issuerRoutes(parts)];
}

function apiKeyRoutes({ keys, providers: all }: RouteParts): readonly Route[] {
  const list = async (context: Context) => {
    context.body = { apiKeys: await keys.list() };
  };
  const add = async (context: Context) => {
    const fields = await readFields(context.req, ['name', 'scopes', 'providers']);
    const providers = listOf(fields, 'providers');
    for (const id of providers ?? []) {
      if (!isId(id)) throw refuse(`providers: ${JSON.stringify(id.slice(0, 100))} is no id`);
      if ((await all.find(id)) === undefined) throw absent(`provider ${id}`);
    }
    const scopes = (listOf(fields, 'scopes') ?? SCOPES).map(assertScope);
    const given = { name: nameOf(fields), scopes, ...(providers === undefined ? {} : { providers }) };
    context.body = withText(await keys.add(given));
  };
  const rotate = async (context: Context) => {
    const fields = await readFields(context.req, ['name', 'overlapSeconds']);
    const { overlapSeconds = OVERLAP_SECONDS } = fields;
    const isTime = Number.isInteger(overlapSeconds) && Number(overlapSeconds) >= 0;
    if (!isTime || Number(overlapSeconds) > OVERLAP_MAX_SECONDS)
      throw refuse(`overlapSeconds is no whole number up to ${OVERLAP_MAX_SECONDS}`);
    context.body = withText(await keys.rotate(nameOf(fields), Number(overlapSeconds)));
  };
  const remove = async (context: Context) => {
    await keys.remove(nameOf(await readFields(context.req, ['name'])));
    context.body = {};
  };
  const some = { type: 'array', minItems: 1, items: { type: 'string', enum: SCOPES } };
  const uuids = { type: 'array', minItems: 1, items: { type: 'string', format: 'uuid' } };
  const overlap = { type: 'integer', minimum: 0, maximum: OVERLAP_MAX_SECONDS };
  return [
    route('GET', 'list', list, 'The API keys', undefined),
    route(
      'POST',
      'add',
      add,
      'Make an API key',
      jsonBody({ name: NAMED, scopes: some, providers: uuids }, ['name']),
    ),
    route(
      'POST',
      'rotate',
      rotate,
      'Give an API key a new secret',
      jsonBody({ name: NAMED, overlapSeconds: overlap }, ['name']),
    ),
    route('POST', 'remove', remove, 'Remove an API key', jsonBody({ name: NAMED }, ['name'])),
  ];
}

function route(
  method: 'GET' | 'POST',
  action: string,
  handle: Route['handle'],
  summary: string,
  requestBody: unknown,
): Route {
  const path = action === 'list' ? '/v1/api-keys' : `/v1/api-keys/${action}`;
  const responses = {
    200: jsonAnswer(summary),
    ...(requestBody === undefined
      ? {}
      : { ...bodyErrors, 404: errorAnswer('There is no such API key, or provider') }),
    ...(requestBody === undefined ? {} : { 409: errorAnswer('The name is taken, or others change it') }),
    503: errorAnswer('The API keys cannot be had at the moment'),
  };
  const body = requestBody === undefined ? {} : { requestBody };
  return { method, path, handle, operation: { summary, ...body, responses } };
}

function withText({ key, text }: { readonly key: ApiKey; readonly text: string }) {
  return { ...key, key: text };
}

function nameOf(fields: Fields): string {
  const name = requireText(fields, 'name', 63);
  if (!NAME.test(name)) throw refuse('name is not of letters, digits and _ . -');
  return name;
}

function listOf(fields: Fields, name: string): readonly string[] | undefined {
  const value = fields[name];
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || value.length === 0 || !value.every((each) => typeof each === 'string'))
    throw refuse(`${name} is no list of texts`);
  return [...new Set(value as readonly string[])];
}

function assertScope(given: string): Scope {
  const found = SCOPES.find((scope) => scope === given);
  if (found === undefined)
    throw refuse(`${JSON.stringify(given.slice(0, 100))} is no scope: they are ${SCOPES.join(' ')}`);
  return found;
}

/** What `/v1/keys` and `/v1/users` are for the main issuer, for each provider. */
function issuerRoutes({ vultr, providers, host }: RouteParts): readonly Route[] {
  return host.adminRoutes.map((each) => ({
    ...each,
    path: each.path.replace(/^\/v1\//, '/v1/issuers/{issuer}/'),
    operation: {
      ...each.operation,
      parameters: [
        ...((each.operation.parameters as readonly unknown[] | undefined) ?? []),
        { name: 'issuer', in: 'path', required: true, schema: TEXT },
      ],
      responses: {
        404: errorAnswer('There is no such issuer'),
        ...(each.operation.responses as Readonly<Record<string, unknown>>),
        ...(changesUsers(each) ? { 409: errorAnswer('The name or sub is taken, or users are shared') } : {}),
      },
    },
    async handle(context) {
      const id = parameterOf(context, 'issuer');
      const provider = isId(id) ? await providers.find(id) : undefined;
      if (provider === undefined)
        throw new IssuerError('not_found', 'no such issuer', {
          shown: { reason: 'There is no such issuer.' },
        });
      if (vultr.config.users === 'shared' && changesUsers(each))
        throw conflict('its users are those of the main issuer (users: shared): leave --issuer out');
      await (await host.admin(specOf(vultr, provider), each))(context);
    },
  }));
}

/** Accounts of people of other identity providers are each provider's own, in any case. */
function changesUsers({ method, path }: Route): boolean {
  return method === 'POST' && path.startsWith('/v1/users/') && path !== '/v1/users/forget';
}

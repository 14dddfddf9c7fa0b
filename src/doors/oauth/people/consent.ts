/** The consent of an interaction. */
import type { Grant } from 'oidc-provider';
import type { Clock } from '../../../core/ports.ts';
import { type Asked, consentPage } from './pages/consent.ts';
import { finish, nameOf, type Rooms, readForm, show, type Visit } from './visit.ts';

type Missing = {
  readonly missingOIDCScope?: readonly string[];
  readonly missingOIDCClaims?: readonly string[];
  readonly missingResourceScopes?: Readonly<Record<string, readonly string[]>>;
};

export async function showConsent(rooms: Rooms, visit: Visit): Promise<void> {
  const { client, interaction } = visit;
  const grant = await grantOf(visit);
  const page = consentPage({
    ...visit,
    client: { ...nameOf(client), uri: client.clientUri, policyUri: client.policyUri, tosUri: client.tosUri },
    person: await personOf(rooms, visit),
    asked: askedOf(interaction.prompt.details as Missing, grant, requested(visit)),
    returnsTo: interaction.deviceCode === undefined ? placeOf(interaction.params.redirect_uri) : undefined,
    words: rooms.config.scopes ?? {},
  });
  show(rooms, visit, page);
}

export async function submitConsent(rooms: Rooms, visit: Visit): Promise<void> {
  const { decision } = await readForm(visit, rooms.issuer);
  if (decision !== 'allow')
    return finish(visit, { error: 'access_denied', error_description: 'the person denied the request' });
  const grant = await grantOf(visit);
  const { missingOIDCScope, missingOIDCClaims, missingResourceScopes } = visit.interaction.prompt
    .details as Missing;
  if (missingOIDCScope !== undefined) grant.addOIDCScope(missingOIDCScope.join(' '));
  if (missingOIDCClaims !== undefined) grant.addOIDCClaims([...missingOIDCClaims]);
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {}))
    grant.addResourceScope(resource, scopes.join(' '));
  return finish(visit, { consent: { grantId: await saveGrant(grant, rooms.clock) } }, true);
}

/** Its whole life begins anew, as do those of the refresh tokens that come of it. */
export function saveGrant(grant: Grant, clock: Clock): Promise<string> {
  return Object.assign(grant, { exp: clock.now() + grant.expiration }).save();
}

/** What the client was granted before, or a new grant. */
async function grantOf({ provider, interaction, client }: Visit): Promise<Grant> {
  const { grantId, session } = interaction;
  const found = grantId === undefined ? undefined : await provider.Grant.find(grantId);
  return found ?? new provider.Grant({ accountId: session?.accountId ?? '', clientId: client.clientId });
}

function requested({ interaction }: Visit): ReadonlySet<string> {
  return new Set(String(interaction.params.scope ?? '').split(' '));
}

/** What is missing, and of what was granted before what this request asks for again; each scope once. */
function askedOf(missing: Missing, grant: Grant, scopes: ReadonlySet<string>): readonly Asked[] {
  const { missingOIDCScope = [], missingOIDCClaims = [], missingResourceScopes = {} } = missing;
  const listOf = (granted: string) => granted.split(' ').filter(Boolean);
  const names = new Set([...Object.keys(grant.resources ?? {}), ...Object.keys(missingResourceScopes)]);
  const resources = [...names].map((resource) => {
    const granted = listOf(grant.getResourceScopeFiltered(resource, new Set(scopes)));
    return { resource, scopes: [...new Set([...granted, ...(missingResourceScopes[resource] ?? [])])] };
  });
  const elsewhere = new Set(resources.flatMap((asked) => asked.scopes));
  const granted = listOf(grant.getOIDCScopeFiltered(new Set(scopes)));
  const own = [...new Set([...granted, ...missingOIDCScope])].filter((scope) => !elsewhere.has(scope));
  const claims = missingOIDCClaims.map((claim) => `claim ${claim}`);
  return [{ scopes: [...own, ...claims] }, ...resources].filter((asked) => asked.scopes.length > 0);
}

async function personOf({ accounts }: Rooms, { interaction }: Visit): Promise<string> {
  const sub = interaction.session?.accountId ?? '';
  const { preferred_username: username, email, name } = (await accounts.claimsOf(sub)) ?? {};
  return [username, email, name].find((value) => typeof value === 'string') ?? sub;
}

/** A host, or an app's own scheme. */
function placeOf(uri: unknown): string | undefined {
  const url = typeof uri === 'string' ? URL.parse(uri) : null;
  return url === null ? undefined : url.host === '' ? `an app (${url.protocol})` : url.host;
}

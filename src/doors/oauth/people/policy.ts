/** When oidc-provider sends somebody to the pages: its own reasons, and those of identity providers and tenants. */
import { interactionPolicy, type KoaContextWithOIDC } from 'oidc-provider';
import { type Accounts, sessionSource } from './accounts.ts';
import { idpsFor, isConsentNeeded, parseAcrValues } from './acr-values.ts';
import type { PeopleConfig, Person } from './contract.ts';

const { Check } = interactionPolicy;

export function createPolicy(config: PeopleConfig, accounts: Accounts): interactionPolicy.DefaultPolicy {
  const policy = interactionPolicy.base();
  const { checks: login } = policy.get('login') ?? missing();
  login.add(check('account_missing', 'the account is gone', isAccountMissing));
  login.add(check('idp', 'another identity provider is needed', (context) => isIdpWrong(config, context)));
  login.add(check('tenant', 'another tenant is asked for', (context) => isTenantWrong(accounts, context)));
  const { checks: consent } = policy.get('consent') ?? missing();
  const native = consent.get('native_client_prompt') ?? missing();
  consent.remove('native_client_prompt');
  const isAsked: interactionPolicy.Check['check'] = (context) =>
    isConsentNeeded(context.oidc.client) && native.check(context);
  consent.add(new Check('native_client_prompt', native.description, 'interaction_required', isAsked), 0);
  return policy;
}

function check(
  reason: string,
  description: string,
  isNeeded: (context: KoaContextWithOIDC) => boolean | Promise<boolean>,
): interactionPolicy.Check {
  return new Check(reason, description, 'login_required', isNeeded);
}

/** Removed, or signed out by a change of the password. */
function isAccountMissing({ oidc }: KoaContextWithOIDC): boolean {
  return oidc.session?.accountId !== undefined && oidc.account === undefined;
}

function isIdpWrong(config: PeopleConfig, { oidc }: KoaContextWithOIDC): boolean {
  const person = oidc.account as Person | undefined;
  if (person === undefined) return false;
  const allowed = idpsFor(config, oidc.client);
  if (!allowed.includes(person.idp)) return true;
  const { idp } = parseAcrValues(oidc.params?.acr_values);
  return idp !== undefined && allowed.includes(idp) && idp !== person.idp && !hasJustLoggedIn(oidc);
}

async function isTenantWrong(accounts: Accounts, { oidc }: KoaContextWithOIDC): Promise<boolean> {
  const { tenant } = parseAcrValues(oidc.params?.acr_values);
  if (tenant === undefined || oidc.account === undefined || oidc.session === undefined) return false;
  if (hasJustLoggedIn(oidc)) return false;
  return (await accounts.loginOf(sessionSource(oidc.session))).tenant !== tenant;
}

function hasJustLoggedIn(oidc: KoaContextWithOIDC['oidc']): boolean {
  return oidc.result?.login !== undefined;
}

function missing(): never {
  throw new Error('the base policy of oidc-provider has changed');
}

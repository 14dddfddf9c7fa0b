/** Plug-ins whose library runs on a later Node than the stand-alone issuer does. */
import type { Path } from './problems.ts';

/** What @kubernetes/client-node needs. */
const KUBERNETES = [22, 19] as const;
/** Where node:sqlite is there unasked, for OAuth's records; oidc-provider has no wish for an earlier one either. */
const OAUTH = [22, 13] as const;

const NEEDS: Readonly<Record<string, readonly [number, number]>> = {
  'attestors.kubernetes': KUBERNETES,
  'doors.webhook': KUBERNETES,
  'doors.oauth': OAUTH,
  'doors.aws-sso-oidc': OAUTH,
  'doors.vultr': OAUTH,
  'records.sqlite': OAUTH,
  'keys.store.kubernetes-secret': KUBERNETES,
};

/** Why the plug-in cannot be loaded by this Node (`v20.20.2`); undefined where it can. */
export function nodeProblem(at: Path, version: string): string | undefined {
  const needed = NEEDS[at.join('.')];
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number);
  if (needed === undefined || major > needed[0] || (major === needed[0] && minor >= needed[1]))
    return undefined;
  return `needs Node ${needed.join('.')} or later; this is ${version}`;
}

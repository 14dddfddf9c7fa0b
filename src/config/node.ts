/** Plug-ins whose library runs on a later Node than the stand-alone issuer does. */
import type { Path } from './problems.ts';

/** What @kubernetes/client-node needs. */
const KUBERNETES = [22, 19] as const;

const NEEDS: Readonly<Record<string, readonly [number, number]>> = {
  'attestors.kubernetes': KUBERNETES,
  'doors.webhook': KUBERNETES,
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

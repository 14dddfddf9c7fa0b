/** The parameters of a request as the provider reads them: one value of each, one blank between scopes. */
import { BETWEEN } from './grants/grant.ts';

const FOR_PERSONS = /\/(authorize|deviceauthorization|par)$/;
const RESOURCES: ReadonlySet<string> = new Set(['resource', 'audience']);
/**
 * Where `acr_values` is carried past the provider, which takes it beside `openid` alone: IdentityServer's words
 * in it are for access tokens too. authorization-request.ts puts it back.
 */
export const CARRIED_ACR_VALUES = 'carried_acr_values';

/** The token endpoint takes the parameters of resources as they are. */
export function asksForPerson(path: string): boolean {
  return FOR_PERSONS.test(path);
}

export function mayRepeat(name: string): boolean {
  return RESOURCES.has(name);
}

/** True where something was changed. */
export function adaptForm(form: URLSearchParams, path: string): boolean {
  const changes = [keepWhole(form), dropBlanks(form)];
  if (asksForPerson(path)) changes.push(joinResources(form), carryAcrValues(form));
  return changes.includes(true);
}

/** `resource` may be repeated (RFC 8707 section 2) and `audience` means the same: the provider takes one value. */
function joinResources(form: URLSearchParams): boolean {
  const all = [...form.getAll('resource'), ...form.getAll('audience')].filter((name) => name !== '');
  if (all.length === 0) return false;
  form.delete('audience');
  form.set('resource', all.join(BETWEEN));
  return true;
}

/** What stands between joined values in one that was sent would make two of it; no resource has a blank. */
function keepWhole(form: URLSearchParams): boolean {
  if (![...form].some(([name, value]) => RESOURCES.has(name) && value.includes(BETWEEN))) return false;
  for (const name of RESOURCES) {
    const values = form.getAll(name);
    form.delete(name);
    for (const value of values) form.append(name, value.replaceAll(BETWEEN, ' '));
  }
  return true;
}

/** Of blanks before, behind and between scopes one counts, as in IdentityServer. */
function dropBlanks(form: URLSearchParams): boolean {
  const [given = '', ...more] = form.getAll('scope');
  const scope = given.split(/ +/).filter((name) => name !== '');
  if (more.length > 0 || scope.join(' ') === given) return false;
  form.set('scope', scope.join(' '));
  return true;
}

function carryAcrValues(form: URLSearchParams): boolean {
  const isForged = form.has(CARRIED_ACR_VALUES);
  form.delete(CARRIED_ACR_VALUES);
  const values = form.getAll('acr_values');
  if (values.length !== 1) return isForged; // the provider refuses two
  form.delete('acr_values');
  form.set(CARRIED_ACR_VALUES, String(values[0]));
  return true;
}

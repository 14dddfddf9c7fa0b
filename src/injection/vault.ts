/** Vault and OpenBao: the jwt auth method, by variables for whatever logs in with the file. */
import { type Annotations, audienceOf, requireWith, textOf } from './annotations.ts';
import { TOKENS_DIRECTORY } from './names.ts';
import { NOTHING, type Provision, variable } from './provision.ts';

const ADDRESS = /^https?:\/\/[\w.[\]:-]{1,253}(?:\/[\w./~-]{0,128})?$/;
const ROLE = /^\S{1,256}$/;

export function vault(annotations: Annotations): Provision {
  requireWith(
    annotations,
    ['vault-address', 'vault-role', 'vault-audience'],
    ['vault-address', 'vault-role'],
  );
  const address = textOf(annotations, 'vault-address', ADDRESS, 'https://vault.example.com:8200');
  const role = textOf(annotations, 'vault-role', ROLE, 'web');
  if (address === undefined || role === undefined) return NOTHING;
  const path = `${TOKENS_DIRECTORY}/vault`;
  return {
    env: [
      variable('VAULT_ADDR', address),
      variable('VAULT_ROLE', role),
      variable('MINTMARK_VAULT_TOKEN_FILE', path),
    ],
    tokens: [{ path, audience: audienceOf(annotations, 'vault-audience') ?? address }],
    files: [],
  };
}

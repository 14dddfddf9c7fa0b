/** Azure: federated credentials of an application or a managed identity, by the variables of its SDKs. */
import { type Annotations, requireWith, textOf } from './annotations.ts';
import { TOKENS_DIRECTORY } from './names.ts';
import { NOTHING, type Provision, variable } from './provision.ts';

const GUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const EXAMPLE = '00000000-0000-0000-0000-000000000000';
const AUDIENCE = 'api://AzureADTokenExchange';
const AUTHORITY = 'https://login.microsoftonline.com/';

export function azure(annotations: Annotations): Provision {
  const both = ['azure-client-id', 'azure-tenant-id'] as const;
  requireWith(annotations, both, both);
  const client = textOf(annotations, 'azure-client-id', GUID, EXAMPLE);
  const tenant = textOf(annotations, 'azure-tenant-id', GUID, EXAMPLE);
  if (client === undefined || tenant === undefined) return NOTHING;
  const path = `${TOKENS_DIRECTORY}/azure`;
  return {
    env: [
      variable('AZURE_CLIENT_ID', client),
      variable('AZURE_TENANT_ID', tenant),
      variable('AZURE_FEDERATED_TOKEN_FILE', path),
      variable('AZURE_AUTHORITY_HOST', AUTHORITY),
    ],
    tokens: [{ path, audience: AUDIENCE }],
    files: [],
  };
}

/** Google Cloud: workload identity federation, by an external account document (AIP-4117). */
import { type Annotations, requireWith, textOf } from './annotations.ts';
import { RUN_DIRECTORY, TOKENS_DIRECTORY } from './names.ts';
import { NOTHING, type Provision, variable } from './provision.ts';

const PROVIDER =
  /^\/\/iam\.googleapis\.com\/projects\/\d{1,20}\/locations\/[\w-]{1,40}\/workloadIdentityPools\/[\w-]{1,40}\/providers\/[\w-]{1,40}$/;
const EXAMPLE =
  '//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/POOL/providers/PROVIDER';
const ACCOUNT = /^[a-z0-9-]{1,64}@[a-z0-9.:-]{1,128}\.gserviceaccount\.com$/;

export function google(annotations: Annotations): Provision {
  requireWith(annotations, ['google-service-account'], ['google-audience']);
  const provider = textOf(annotations, 'google-audience', PROVIDER, EXAMPLE);
  const account = textOf(
    annotations,
    'google-service-account',
    ACCOUNT,
    'web@PROJECT.iam.gserviceaccount.com',
  );
  if (provider === undefined) return NOTHING;
  const path = `${RUN_DIRECTORY}/google.json`;
  const token = `${TOKENS_DIRECTORY}/google`;
  return {
    env: [variable('GOOGLE_APPLICATION_CREDENTIALS', path)],
    // Without allowed audiences of its own a provider takes its own name for the audience.
    tokens: [{ path: token, audience: provider }],
    files: [{ path, content: JSON.stringify(externalAccount(provider, token, account)) }],
  };
}

function externalAccount(audience: string, tokenFile: string, account: string | undefined) {
  return {
    type: 'external_account',
    audience,
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    token_url: 'https://sts.googleapis.com/v1/token',
    credential_source: { file: tokenFile, format: { type: 'text' } },
    ...(account === undefined
      ? {}
      : {
          service_account_impersonation_url: `https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/${account}:generateAccessToken`,
        }),
  };
}
